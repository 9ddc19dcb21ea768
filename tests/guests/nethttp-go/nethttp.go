// Asks over HTTP with net/http, as the user part of the Request-URI says; the answer is in the reason phrase.
package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"patchbay/message"
	"patchbay/nethttp"
	"patchbay/requestroute"
	"patchbay/settings"
)

func init() { requestroute.Hook = route }

func main() {}

func route() requestroute.Verdict {
	url, _ := settings.Get("url")
	switch message.RequestUser() {
	case "forbidden":
		url = "http://127.0.0.1:1/"
	case "late":
		url, _ = settings.Get("late")
	}
	told, err := ask(url)
	if err != nil {
		told = err.Error()
	}
	return requestroute.Reply(486, told)
}

func ask(url string) (string, error) {
	request, err := http.NewRequest("POST", url, strings.NewReader("grüße"))
	if err != nil {
		return "", err
	}
	request.Header.Set("X-A", "1")
	client := http.Client{Transport: nethttp.Transport{Timeout: 50 * time.Millisecond}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s %s", response.StatusCode, response.Header.Get("X-Server"), body), err
}
