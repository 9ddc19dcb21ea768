// Screening of unwanted calls, and voicemail when the callee is busy: see README.md.
//
// The functions patchbay_policy_* are the imports of the WIT package, exports_patchbay_policy_* the hooks; both are declared in
// the generated policy.h.

#include "policy.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Request = exports_patchbay_policy_request_route_request_verdict_t;
using Failure = exports_patchbay_policy_failure_route_failure_verdict_t;

// The setting, read once per instance.
std::vector<std::string> blocked;

// A text of ours as an argument. The router only reads it.
policy_string_t borrowed(std::string_view text) {
  return {reinterpret_cast<uint8_t *>(const_cast<char *>(text.data())), text.size()};
}

// A text of the router, which is ours to free.
std::string owned(policy_string_t text) {
  std::string copy(reinterpret_cast<char *>(text.ptr), text.len);
  policy_string_free(&text);
  return copy;
}

// What went wrong in a call to the router; freed when it goes.
struct HostError {
  patchbay_policy_types_error_t error{};
  ~HostError() { patchbay_policy_types_error_free(&error); }
};

std::string text_of(void (*import)(policy_string_t *)) {
  policy_string_t text;
  import(&text);
  return owned(text);
}

std::optional<std::string> text_of(bool (*import)(policy_string_t *, policy_string_t *), std::string_view name) {
  policy_string_t argument = borrowed(name), text;
  if (!import(&argument, &text)) return std::nullopt;
  return owned(text);
}

std::optional<std::string> setting(std::string_view name) { return text_of(patchbay_policy_settings_get, name); }

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

void reply(Request *verdict, uint16_t status) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
  verdict->val.reply = {status, {}};
}

void route_register(Request *verdict) {
  bool verified = !patchbay_policy_auth_required() ||
                  patchbay_policy_auth_verify() == PATCHBAY_POLICY_AUTH_VERIFICATION_VERIFIED;
  verdict->tag = verified ? EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_SAVE
                          : EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_CHALLENGE;
}

// To every contact of the user in the Request-URI.
void route_to_user(Request *verdict) {
  patchbay_policy_location_lookup_result_t found;
  HostError failed;
  if (!patchbay_policy_location_lookup_request_uri(&found, &failed.error)) {
    return reply(verdict, failed.error.kind == PATCHBAY_POLICY_TYPES_ERROR_KIND_NOT_FOUND ? 404 : 500);
  }
  uint32_t added;
  if (found.count == 0) return reply(verdict, 480);
  if (!patchbay_policy_targets_add_lookup(found.lookup, &added, &failed.error)) return reply(verdict, 500);
  patchbay_policy_transaction_arm(PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE |
                                  PATCHBAY_POLICY_TRANSACTION_HOOKS_FAILURE_ROUTE);
  verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
}

bool is_blocked() {
  std::string caller = text_of(patchbay_policy_message_from_uri);
  for (const std::string &word : blocked) {
    if (contains(caller, word)) return true;
  }
  return false;
}

} // namespace

bool exports_patchbay_policy_init_init(policy_string_t *error) {
  std::string words = setting("blocked").value_or("");
  for (size_t start = 0; start <= words.size();) {
    size_t end = std::min(words.find(' ', start), words.size());
    if (end > start) blocked.push_back(words.substr(start, end - start));
    start = end + 1;
  }
  std::string voicemail = setting("voicemail").value_or("sip:");
  if (voicemail.starts_with("sip:") || voicemail.starts_with("sips:")) return true;
  policy_string_dup(error, "voicemail is no SIP URI");
  return false;
}

void exports_patchbay_policy_request_route_request_route(Request *verdict) {
  auto facts = patchbay_policy_message_facts();
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_IN_DIALOG) {
    verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
    return;
  }
  std::string agent = text_of(patchbay_policy_message_header, "User-Agent").value_or("");
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_ACK || contains(agent, "friendly-scanner")) {
    verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_DROP;
    return;
  }
  if (is_blocked()) return reply(verdict, 603);
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_REGISTER) return route_register(verdict);
  if (text_of(patchbay_policy_message_request_user).empty()) {
    return reply(verdict, facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_OPTIONS ? 200 : 405);
  }
  route_to_user(verdict);
}

exports_patchbay_policy_onreply_route_reply_verdict_t exports_patchbay_policy_onreply_route_onreply_route(void) {
  // What the operator does not grant is left out.
  policy_string_t server = borrowed("Server"), screened = borrowed("X-Screened"), yes = borrowed("yes");
  uint32_t removed;
  HostError not_removed, not_set;
  patchbay_policy_message_remove_header(&server, &removed, &not_removed.error);
  patchbay_policy_message_set_header(&screened, &yes, &not_set.error);
  return EXPORTS_PATCHBAY_POLICY_ONREPLY_ROUTE_REPLY_VERDICT_PASS;
}

void exports_patchbay_policy_failure_route_failure_route(Failure *verdict) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_PASS;
  uint16_t status;
  auto voicemail = setting("voicemail");
  if (!patchbay_policy_message_response_status(&status) || status != 486 || !voicemail) return;
  policy_string_t uri = borrowed(*voicemail);
  HostError failed;
  if (!patchbay_policy_targets_add_uri(&uri, &failed.error)) return;
  patchbay_policy_transaction_arm(PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE);
  verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_RELAY;
}
