// Reaches beyond the router once; what has to come of it is in tests/tests/conformance/outside.rs.

#include "policy.h"

#include <string>
#include <string_view>

namespace {

using Verdict = exports_patchbay_policy_request_route_request_verdict_t;

policy_string_t borrowed(std::string_view text) {
  return {reinterpret_cast<uint8_t *>(const_cast<char *>(text.data())), text.size()};
}

policy_list_u8_t bytes(std::string_view text) {
  return {reinterpret_cast<uint8_t *>(const_cast<char *>(text.data())), text.size()};
}

template <typename List>
std::string_view view(const List &list) {
  return {reinterpret_cast<const char *>(list.ptr), list.len};
}

std::string get(std::string_view name) {
  static const char *const kinds[] = {"not-found", "invalid-argument", "wrong-hook", "denied", "limit", "unavailable"};
  policy_string_t key = borrowed(name);
  policy_option_list_u8_t value;
  patchbay_policy_types_error_t error;
  if (!patchbay_policy_keyvalue_get(&key, &value, &error)) {
    std::string kind = kinds[error.kind];
    patchbay_policy_types_error_free(&error);
    return kind;
  }
  std::string copy = value.is_some ? std::string(view(value.val)) : "-";
  policy_option_list_u8_free(&value);
  return copy;
}

}  // namespace

void exports_patchbay_policy_request_route_request_route(Verdict *verdict) {
  policy_tuple2_string_string_t header = {borrowed("X-A"), borrowed("1")};
  patchbay_policy_http_request_t request = {
      borrowed("POST"), borrowed("http://lcr.example/route"), {&header, 1}, bytes("hello"), {true, 250}};
  patchbay_policy_http_response_t response;
  patchbay_policy_types_error_t error;
  if (!patchbay_policy_http_fetch(&request, &response, &error)) __builtin_trap();
  policy_string_t key = borrowed("calls/a"), number = borrowed("calls/n"), type = borrowed("text/plain");
  if (!patchbay_policy_keyvalue_set(&key, &response.body, &error)) __builtin_trap();
  int64_t sum;
  if (!patchbay_policy_keyvalue_increment_with_ttl(&number, 1LL << 40, 60, &sum, &error)) __builtin_trap();
  std::string report = std::to_string(response.status) + " " + std::string(view(response.headers.ptr[1].f1)) + " " +
                       get("calls/a") + " " + std::to_string(sum) + " " + get("other");
  patchbay_policy_http_response_free(&response);
  policy_list_u8_t body = bytes(report);
  if (!patchbay_policy_reply_set_body(&type, &body, &error)) __builtin_trap();
  verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
  verdict->val.reply = {299, {}};
}
