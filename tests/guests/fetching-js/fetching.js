// Asks over HTTP with `fetch`, as the user part of the Request-URI says; the answer is in the reason phrase.

import { method, requestUri, requestUser } from 'patchbay:policy/message@0.1.0';
import { lookup } from 'patchbay:policy/location@0.1.0';
import { get as setting } from 'patchbay:policy/settings@0.1.0';
import { addLookup } from 'patchbay:policy/targets@0.1.0';

const busy = (reason) => ({ tag: 'reply', val: { status: 486, reason } });

const url = () => setting('url');

async function* upTo(count) {
  for (let number = 1; number <= count; number += 1) yield number;
}

const ways = {
  async ask() {
    const response = await fetch(url(), { method: 'post', headers: { 'X-A': '1' }, body: 'grüße' });
    return `${response.status} ${response.ok} ${response.headers.get('X-Server')} ${await response.text()}`;
  },

  async json() {
    const response = await fetch(url());
    const { to } = await response.json();
    return to;
  },

  async several() {
    const answers = await Promise.all([fetch(url()), fetch(url()), 'nothing']);
    const settled = await Promise.allSettled([fetch('http://127.0.0.1:1/'), Promise.reject(new Error('no'))]);
    let sum = 0;
    for await (const number of upTo(3)) sum += number;
    const first = await Promise.race([fetch(url()).then((response) => response.status), new Promise(() => {})]);
    const found = await Promise.any([Promise.reject(1), Promise.resolve('found')]);
    return `${answers.map((answer) => answer.status ?? answer)} ${settled.map((one) => one.status)} ${sum} ${first} ${found}`;
  },

  async forbidden() {
    const { status } = await fetch('http://127.0.0.1:1/');
    return `${status}`;
  },

  async late() {
    const { status } = await fetch(setting('late'), { signal: AbortSignal.timeout(50) });
    return `${status} in time`;
  },

  async never() {
    await new Promise(() => {});
  },

  async uncaught() {
    await fetch(url());
    throw new Error('nobody catches this');
  },
};

export const requestRoute = {
  async requestRoute() {
    const user = requestUser();
    if (method() === 'REGISTER') return { tag: 'save' };
    if (user === 'never' || user === 'uncaught') return ways[user]();
    if (ways[user] === undefined) {
      addLookup(lookup(requestUri()).lookup);
      return { tag: 'relay' };
    }
    try {
      return busy(await ways[user]());
    } catch (error) {
      return busy(`${error.constructor.name} ${error.payload?.kind}: ${error.message}`);
    } finally {
      await null;
    }
  },
};
