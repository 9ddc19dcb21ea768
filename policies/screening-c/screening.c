// Screening of unwanted calls, and voicemail when the callee is busy: see README.md.
//
// The functions patchbay_policy_* are the imports of the WIT package, exports_patchbay_policy_* the hooks; both are declared in
// the generated policy.h. A string that the router gave is ours to free.

#include "policy.h"

#include <string.h>

typedef exports_patchbay_policy_request_route_request_verdict_t request_verdict_t;
typedef exports_patchbay_policy_failure_route_failure_verdict_t failure_verdict_t;

// The setting, read once per instance.
static policy_string_t blocked;

// A text of ours as an argument. The router only reads it.
static policy_string_t text(const char *literal) {
  return (policy_string_t){.ptr = (uint8_t *)literal, .len = strlen(literal)};
}

static bool starts_with(const policy_string_t *string, const char *literal) {
  return string->len >= strlen(literal) && memcmp(string->ptr, literal, strlen(literal)) == 0;
}

static bool contains(const policy_string_t *string, const uint8_t *part, size_t len) {
  for (size_t start = 0; start + len <= string->len; start++) {
    if (memcmp(string->ptr + start, part, len) == 0) return true;
  }
  return false;
}

// Whether the string contains one of the words of the list.
static bool contains_word(const policy_string_t *string, const policy_string_t *list) {
  size_t start = 0;
  for (size_t end = 0; end <= list->len; end++) {
    if (end < list->len && list->ptr[end] != ' ') continue;
    if (end > start && contains(string, list->ptr + start, end - start)) return true;
    start = end + 1;
  }
  return false;
}

static void reply(request_verdict_t *verdict, uint16_t status) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
  verdict->val.reply.status = status;
  verdict->val.reply.reason = (policy_string_t){0};
}

static bool is_scanner(void) {
  static const char scanner[] = "friendly-scanner";
  policy_string_t name = text("User-Agent"), agent;
  if (!patchbay_policy_message_header(&name, &agent)) return false;
  bool found = contains(&agent, (const uint8_t *)scanner, sizeof scanner - 1);
  policy_string_free(&agent);
  return found;
}

static bool is_blocked(void) {
  policy_string_t from;
  patchbay_policy_message_from_uri(&from);
  bool found = contains_word(&from, &blocked);
  policy_string_free(&from);
  return found;
}

static void route_register(request_verdict_t *verdict) {
  bool verified = !patchbay_policy_auth_required() ||
                  patchbay_policy_auth_verify() == PATCHBAY_POLICY_AUTH_VERIFICATION_VERIFIED;
  verdict->tag = verified ? EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_SAVE
                          : EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_CHALLENGE;
}

// To every contact of the user in the Request-URI.
static void route_to_user(request_verdict_t *verdict) {
  patchbay_policy_location_lookup_result_t found;
  patchbay_policy_types_error_t error;
  if (!patchbay_policy_location_lookup_request_uri(&found, &error)) {
    reply(verdict, error.kind == PATCHBAY_POLICY_TYPES_ERROR_KIND_NOT_FOUND ? 404 : 500);
    patchbay_policy_types_error_free(&error);
    return;
  }
  uint32_t added;
  if (found.count == 0) {
    reply(verdict, 480);
  } else if (patchbay_policy_targets_add_lookup(found.lookup, &added, &error)) {
    patchbay_policy_transaction_arm(PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE |
                                    PATCHBAY_POLICY_TRANSACTION_HOOKS_FAILURE_ROUTE);
    verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
  } else {
    patchbay_policy_types_error_free(&error);
    reply(verdict, 500);
  }
}

bool exports_patchbay_policy_init_init(policy_string_t *error) {
  policy_string_t name = text("blocked"), voicemail;
  if (!patchbay_policy_settings_get(&name, &blocked)) blocked = (policy_string_t){0};
  name = text("voicemail");
  if (!patchbay_policy_settings_get(&name, &voicemail)) return true;
  bool is_sip = starts_with(&voicemail, "sip:") || starts_with(&voicemail, "sips:");
  policy_string_free(&voicemail);
  if (!is_sip) policy_string_dup(error, "voicemail is no SIP URI");
  return is_sip;
}

void exports_patchbay_policy_request_route_request_route(request_verdict_t *verdict) {
  patchbay_policy_message_message_facts_t facts = patchbay_policy_message_facts();
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_IN_DIALOG) {
    verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
    return;
  }
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_ACK || is_scanner()) {
    verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_DROP;
    return;
  }
  if (is_blocked()) {
    reply(verdict, 603);
    return;
  }
  if (facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_REGISTER) {
    route_register(verdict);
    return;
  }
  policy_string_t user;
  patchbay_policy_message_request_user(&user);
  bool is_for_router = user.len == 0;
  policy_string_free(&user);
  if (is_for_router) {
    reply(verdict, facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_OPTIONS ? 200 : 405);
    return;
  }
  route_to_user(verdict);
}

exports_patchbay_policy_onreply_route_reply_verdict_t exports_patchbay_policy_onreply_route_onreply_route(void) {
  // What the operator does not grant is left out.
  policy_string_t server = text("Server"), screened = text("X-Screened"), yes = text("yes");
  patchbay_policy_types_error_t error;
  uint32_t removed;
  if (!patchbay_policy_message_remove_header(&server, &removed, &error)) patchbay_policy_types_error_free(&error);
  if (!patchbay_policy_message_set_header(&screened, &yes, &error)) patchbay_policy_types_error_free(&error);
  return EXPORTS_PATCHBAY_POLICY_ONREPLY_ROUTE_REPLY_VERDICT_PASS;
}

void exports_patchbay_policy_failure_route_failure_route(failure_verdict_t *verdict) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_PASS;
  uint16_t status;
  policy_string_t name = text("voicemail"), voicemail;
  bool is_busy = patchbay_policy_message_response_status(&status) && status == 486;
  if (!is_busy || !patchbay_policy_settings_get(&name, &voicemail)) return;
  patchbay_policy_types_error_t error;
  if (patchbay_policy_targets_add_uri(&voicemail, &error)) {
    patchbay_policy_transaction_arm(PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE);
    verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_RELAY;
  } else {
    patchbay_policy_types_error_free(&error);
  }
  policy_string_free(&voicemail);
}
