// Calls everything that the router provides; what it has to see and to do is in tests/tests/conformance/imports.rs.

#include "policy.h"

#include <stdio.h>
#include <string.h>

static char report[8192];
static size_t length;
static const char *in_init = "";
// What http and keyvalue answered in init.
static const char *beyond[2] = {"", ""};

static policy_string_t text(const char *literal) {
  return (policy_string_t){.ptr = (uint8_t *)literal, .len = strlen(literal)};
}

// Lends a text for one call.
#define T(literal) (&(policy_string_t){.ptr = (uint8_t *)(literal), .len = strlen(literal)})

static void put(const char *bytes, size_t count) {
  if (count > sizeof report - length) __builtin_trap();
  memcpy(report + length, bytes, count);
  length += count;
}

static void say(const char *name) {
  if (length > 0) put("\n", 1);
  put(name, strlen(name));
  put(":", 1);
}

static void word(const char *literal) {
  put(" ", 1);
  put(literal, strlen(literal));
}

static void flag(bool value) { word(value ? "true" : "false"); }

static void number(uint64_t value) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
  word(digits);
}

// Writes a text that the router gave, and frees it.
static void took(policy_string_t given) {
  put(" ", 1);
  put((const char *)given.ptr, given.len);
  policy_string_free(&given);
}

static void took_option(bool is_some, policy_string_t given) {
  if (is_some) took(given);
  else word("-");
}

static const char *kind(patchbay_policy_types_error_t *error) {
  static const char *const kinds[] = {"not-found", "invalid-argument", "wrong-hook", "denied", "limit", "unavailable"};
  const char *name = kinds[error->kind];
  patchbay_policy_types_error_free(error);
  return name;
}

static policy_string_t given;
static patchbay_policy_types_error_t failed;
static uint32_t count;

#define TEXT(call) (call(&given), took(given))
#define OPTION(call, name) took_option(call(T(name), &given), given)
#define ATTEMPT(succeeded) word((succeeded) ? "ok" : kind(&failed))

static void counted(bool succeeded) {
  if (succeeded) number(count);
  else word(kind(&failed));
}

static void status_of(bool is_some, uint16_t status) {
  if (is_some) number(status);
  else word("-");
}

static void statuses(void) {
  uint16_t status = 0;
  status_of(patchbay_policy_message_status(&status), status);
  status_of(patchbay_policy_message_response_status(&status), status);
  OPTION(patchbay_policy_message_response_header, "Server");
}

static void read_message(void) {
  patchbay_policy_message_message_summary_t s;
  patchbay_policy_message_summary(&s);
  say("summary");
  took(s.method), took(s.request_uri), took(s.from_uri), took(s.to_uri), took(s.call_id), took(s.source), flag(s.in_dialog);
  patchbay_policy_message_message_facts_t facts = patchbay_policy_message_facts();
  say("facts");
  flag(facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_INVITE), flag(facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_ACK);
  flag(facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_UPDATE), flag(facts & PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_IN_DIALOG);
  say("message");
  TEXT(patchbay_policy_message_method), TEXT(patchbay_policy_message_request_uri), TEXT(patchbay_policy_message_request_user);
  TEXT(patchbay_policy_message_from_uri), TEXT(patchbay_policy_message_to_uri), TEXT(patchbay_policy_message_call_id);
  say("status");
  statuses();
  policy_list_u8_t body;
  patchbay_policy_message_body(&body);
  say("body");
  word(""), put((const char *)body.ptr, body.len);
  policy_list_u8_free(&body);
  say("header");
  OPTION(patchbay_policy_message_header, "Subject"), OPTION(patchbay_policy_message_header, "X-None");
  flag(patchbay_policy_message_has_header(T("Subject"))), flag(patchbay_policy_message_has_header(T("X-None")));
}

static void read_lists(void) {
  policy_list_string_t list;
  say("headers");
  patchbay_policy_message_headers(T("X-Many"), &list);
  for (size_t i = 0; i < list.len; i++) word(""), put((const char *)list.ptr[i].ptr, list.ptr[i].len);
  policy_list_string_free(&list);
  patchbay_policy_message_headers(T("X-None"), &list);
  number(list.len);
  policy_string_t names[] = {text("Subject"), text("X-None"), text("X-Many")};
  policy_list_option_string_t values;
  patchbay_policy_message_headers_named(&(policy_list_string_t){names, 3}, &values);
  say("named");
  for (size_t i = 0; i < values.len; i++) {
    word(values.ptr[i].is_some ? "" : "-");
    if (values.ptr[i].is_some) put((const char *)values.ptr[i].val.ptr, values.ptr[i].val.len);
  }
  policy_list_option_string_free(&values);
  say("joined");
  patchbay_policy_message_headers_joined(T("Subject,X-None"), &given);
  took(given);
}

static void edit_message(void) {
  policy_list_u8_t body = {(uint8_t *)"new", 3};
  say("set");
  ATTEMPT(patchbay_policy_message_set_header(T("X-New"), T("1"), &failed));
  ATTEMPT(patchbay_policy_message_set_header(T("Via"), T("x"), &failed));
  say("add");
  ATTEMPT(patchbay_policy_message_add_header(T("X-Many"), T("three"), &failed));
  ATTEMPT(patchbay_policy_message_add_header(T("X Bad"), T(""), &failed));
  say("remove");
  counted(patchbay_policy_message_remove_header(T("X-Many"), &count, &failed));
  counted(patchbay_policy_message_remove_header(T("From"), &count, &failed));
  say("uri");
  ATTEMPT(patchbay_policy_message_set_request_uri(T("sip:carol@example.com"), &failed));
  ATTEMPT(patchbay_policy_message_set_request_uri(T("nothing"), &failed));
  say("set body");
  ATTEMPT(patchbay_policy_message_set_body(T("text/plain"), &body, &failed));
  ATTEMPT(patchbay_policy_message_set_body(T("nothing"), &body, &failed));
}

static void use_transaction(void) {
  static const char *const transports[] = {"udp", "tcp", "tls", "ws", "wss"};
  patchbay_policy_transaction_message_source_t s;
  patchbay_policy_transaction_source(&s);
  say("source");
  word(transports[s.transport]), took(s.address), number(s.port), took(s.local);
  TEXT(patchbay_policy_transaction_source_address);
  say("networks");
  flag(patchbay_policy_transaction_source_in(T("192.0.2.0/24"))), flag(patchbay_policy_transaction_source_in(T("10.0.0.0/8")));
  say("transaction");
  flag(patchbay_policy_transaction_in_dialog());
  flag(patchbay_policy_transaction_is_local_uri(T("sip:x@example.com")));
  flag(patchbay_policy_transaction_is_local_uri(T("sip:x@example.org")));
  number(patchbay_policy_transaction_failure_round());
  say("variable");
  OPTION(patchbay_policy_transaction_variable, "class");
  ATTEMPT(patchbay_policy_transaction_set_variable(T("class"), T("größer"), &failed));
  OPTION(patchbay_policy_transaction_variable, "class");
  patchbay_policy_transaction_arm(PATCHBAY_POLICY_TRANSACTION_HOOKS_BRANCH_ROUTE |
                                  PATCHBAY_POLICY_TRANSACTION_HOOKS_FAILURE_ROUTE);
  patchbay_policy_transaction_set_record_route(false);
  say("parameter");
  ATTEMPT(patchbay_policy_transaction_add_record_route_parameter(T("tenant"), T("red"), &failed));
  OPTION(patchbay_policy_transaction_record_route_parameter, "tenant");
  OPTION(patchbay_policy_transaction_record_route_parameter, "none");
}

static void use_targets(void) {
  say("targets");
  ATTEMPT(patchbay_policy_targets_add_uri(T("sip:a@192.0.2.5"), &failed));
  ATTEMPT(patchbay_policy_targets_add_uri(T("nothing"), &failed));
  number(patchbay_policy_targets_count());
  patchbay_policy_targets_target_t full = {.uri = text("sip:b@192.0.2.6"),
                                           .q = 700,
                                           .next_hop = {true, text("sip:192.0.2.7")},
                                           .listener = {true, text("udp:192.0.2.8:5060")},
                                           .no_answer_ms = {true, 1500}};
  patchbay_policy_targets_target_t bare = {.uri = text("sip:c@192.0.2.6")};
  say("target");
  ATTEMPT(patchbay_policy_targets_add(&full, &failed));
  ATTEMPT(patchbay_policy_targets_add(&bare, &failed));
  patchbay_policy_targets_next_group();
  patchbay_policy_targets_set_no_answer_timeout(9000);
  say("lookup");
  counted(patchbay_policy_targets_add_lookup(7, &count, &failed));
  number(patchbay_policy_targets_count());
  patchbay_policy_targets_clear();
  say("reply");
  ATTEMPT(patchbay_policy_reply_add_header(T("X-Reply"), T("yes"), &failed));
  ATTEMPT(patchbay_policy_reply_add_header(T("Via"), T("x"), &failed));
}

static void use_location(void) {
  policy_string_t *bob = T("sip:bob@example.com");
  patchbay_policy_location_lookup_result_t found, own;
  if (!patchbay_policy_location_lookup(bob, &found, &failed)) __builtin_trap();
  if (!patchbay_policy_location_lookup_request_uri(&own, &failed)) __builtin_trap();
  say("found");
  number(found.lookup), number(found.count), number(own.lookup), number(own.count);
  for (uint32_t index = 0; index < 3; index++) {
    patchbay_policy_location_binding_t b;
    say("binding");
    if (!patchbay_policy_location_binding_at(7, index, &b)) {
      word("none");
      continue;
    }
    took(b.uri), number(b.q), number(b.expires_secs), took(b.received), took(b.user_agent);
    took_option(b.instance.is_some, b.instance.val);
  }
  say("registered");
  flag(patchbay_policy_location_is_registered_source(T("sip:alice@example.com")));
  flag(patchbay_policy_location_is_registered_source(bob));
  say("contacts");
  ATTEMPT(patchbay_policy_location_save_contact(bob, T("sip:bob@192.0.2.3"), 60, &failed));
  counted(patchbay_policy_location_remove_contact(bob, T(""), &count, &failed));
}

static void use_services(void) {
  static const char *const verifications[] = {"verified", "missing", "stale", "failed"};
  say("auth");
  word(verifications[patchbay_policy_auth_verify()]);
  took_option(patchbay_policy_auth_verified_user(&given), given);
  flag(patchbay_policy_auth_required());
  TEXT(patchbay_policy_auth_realm);
  say("settings");
  OPTION(patchbay_policy_settings_get, "colour"), OPTION(patchbay_policy_settings_get, "none");
  policy_list_tuple2_string_string_t all;
  patchbay_policy_settings_all(&all);
  for (size_t i = 0; i < all.len; i++) {
    word(""), put((const char *)all.ptr[i].f0.ptr, all.ptr[i].f0.len);
    put("=", 1), put((const char *)all.ptr[i].f1.ptr, all.ptr[i].f1.len);
  }
  policy_list_tuple2_string_string_free(&all);
  say("log");
  flag(patchbay_policy_log_enabled(PATCHBAY_POLICY_LOG_LEVEL_TRACE)), flag(patchbay_policy_log_enabled(PATCHBAY_POLICY_LOG_LEVEL_WARN));
  patchbay_policy_log_log(PATCHBAY_POLICY_LOG_LEVEL_WARN, T("a line"));
  say("clock");
  number(patchbay_policy_clock_unix_ms()), number(patchbay_policy_clock_monotonic_us()), number(patchbay_policy_random_u64());
  say("counters");
  ATTEMPT(patchbay_policy_counters_add(T("calls"), 5, &failed));
  ATTEMPT(patchbay_policy_counters_add(T("no name"), 1, &failed));
  word(in_init);
  say("timers");
  ATTEMPT(patchbay_policy_timers_set(T("known"), 250, &failed));
  ATTEMPT(patchbay_policy_timers_set(T("no name"), 1, &failed));
  flag(patchbay_policy_timers_cancel(T("known"))), flag(patchbay_policy_timers_cancel(T("unknown")));
}

static bool ask(const char *url, patchbay_policy_http_response_t *response) {
  patchbay_policy_http_request_t request = {.method = text("GET"), .url = text(url)};
  return patchbay_policy_http_fetch(&request, response, &failed);
}

static void use_http(void) {
  static const char *const urls[] = {"http://empty.example/", "http://none.example/", "http://other.example/"};
  policy_tuple2_string_string_t headers[] = {{text("X-A"), text("1")}, {text("X-B"), text("größer")}};
  patchbay_policy_http_request_t request = {.method = text("POST"),
                                            .url = text("http://lcr.example/route"),
                                            .headers = {headers, 2},
                                            .body = {(uint8_t *)"hello", 5},
                                            .timeout_ms = {true, 250}};
  patchbay_policy_http_response_t r;
  if (!patchbay_policy_http_fetch(&request, &r, &failed)) __builtin_trap();
  say("http");
  number(r.status);
  for (size_t i = 0; i < r.headers.len; i++) {
    put(i > 0 ? "," : " ", 1), put((const char *)r.headers.ptr[i].f0.ptr, r.headers.ptr[i].f0.len);
    put("=", 1), put((const char *)r.headers.ptr[i].f1.ptr, r.headers.ptr[i].f1.len);
  }
  word(""), put((const char *)r.body.ptr, r.body.len);
  patchbay_policy_http_response_free(&r);
  for (size_t i = 0; i < 3; i++) {
    say("http");
    if (!ask(urls[i], &r)) {
      word(kind(&failed));
      continue;
    }
    number(r.status), number(r.headers.len), number(r.body.len);
    patchbay_policy_http_response_free(&r);
  }
}

static void value(const char *key) {
  policy_option_list_u8_t found;
  if (!patchbay_policy_keyvalue_get(T(key), &found, &failed)) {
    word(kind(&failed));
    return;
  }
  word(found.is_some ? "" : "-");
  if (found.is_some) put((const char *)found.val.ptr, found.val.len);
  policy_option_list_u8_free(&found);
}

static void exists(const char *key) {
  bool found;
  if (patchbay_policy_keyvalue_exists(T(key), &found, &failed)) flag(found);
  else word(kind(&failed));
}

static void summed(bool succeeded, int64_t sum) {
  char digits[24];
  snprintf(digits, sizeof digits, "%lld", (long long)sum);
  word(succeeded ? digits : kind(&failed));
}

static void keys(const char *prefix, const char *after) {
  policy_list_string_t list;
  if (!patchbay_policy_keyvalue_list_keys(T(prefix), T(after), &list, &failed)) __builtin_trap();
  if (list.len == 0) number(0);
  for (size_t i = 0; i < list.len; i++) put(i > 0 ? "," : " ", 1), put((const char *)list.ptr[i].ptr, list.ptr[i].len);
  policy_list_string_free(&list);
}

static void use_keyvalue(void) {
  policy_list_u8_t larger = {(uint8_t *)"größer", strlen("größer")}, b = {(uint8_t *)"b", 1}, nothing = {(uint8_t *)"", 0};
  int64_t sum = 0;
  bool succeeded;
  say("keyvalue");
  value("calls/a"), exists("calls/a");
  say("set");
  ATTEMPT(patchbay_policy_keyvalue_set(T("calls/a"), &larger, &failed));
  ATTEMPT(patchbay_policy_keyvalue_set_with_ttl(T("calls/b"), &nothing, 60, &failed));
  ATTEMPT(patchbay_policy_keyvalue_set_with_ttl(T("calls/b"), &b, 0, &failed));
  value("calls/a"), value("calls/b"), exists("calls/b");
  say("increment");
  succeeded = patchbay_policy_keyvalue_increment(T("calls/n"), 1LL << 40, &sum, &failed), summed(succeeded, sum);
  succeeded = patchbay_policy_keyvalue_increment_with_ttl(T("calls/n"), -(1LL << 40) - 7, 60, &sum, &failed), summed(succeeded, sum);
  succeeded = patchbay_policy_keyvalue_increment(T("calls/a"), 1, &sum, &failed), summed(succeeded, sum);
  say("keys");
  keys("calls/", ""), keys("calls/", "calls/a"), keys("calls/x", "");
  say("delete");
  ATTEMPT(patchbay_policy_keyvalue_delete(T("calls/b"), &failed));
  exists("calls/b"), value("other");
  say("beyond");
  word(beyond[0]), word(beyond[1]);
}

bool exports_patchbay_policy_init_init(policy_string_t *error) {
  if (patchbay_policy_settings_get(T("refuse"), error)) return false;
  in_init = patchbay_policy_counters_add(T("calls"), 1, &failed) ? "ok" : kind(&failed);
  patchbay_policy_http_response_t response;
  policy_option_list_u8_t found;
  beyond[0] = ask("http://lcr.example/route", &response) ? "ok" : kind(&failed);
  beyond[1] = patchbay_policy_keyvalue_get(T("calls/a"), &found, &failed) ? "ok" : kind(&failed);
  return true;
}

typedef exports_patchbay_policy_request_route_request_verdict_t request_verdict_t;

static void reply(request_verdict_t *verdict, uint16_t status, const char *reason) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
  verdict->val.reply.status = status;
  policy_string_dup(&verdict->val.reply.reason, reason);
}

void exports_patchbay_policy_request_route_request_route(request_verdict_t *verdict) {
  // In the order of the variant.
  static const char *const verdicts[] = {"relay", "reply", "challenge", "save", "drop", "next"};
  if (patchbay_policy_message_header(T("X-Verdict"), &given)) {
    for (uint8_t tag = 0; tag < 6; tag++) {
      if (given.len == strlen(verdicts[tag]) && memcmp(given.ptr, verdicts[tag], given.len) == 0) verdict->tag = tag;
    }
    policy_string_free(&given);
    if (verdict->tag == EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY) reply(verdict, 486, "Später");
    return;
  }
  length = 0;
  read_message(), read_lists(), edit_message(), use_transaction(), use_targets(), use_location(), use_services();
  use_http(), use_keyvalue();
  patchbay_policy_reply_set_body(T("text/plain"), &(policy_list_u8_t){(uint8_t *)report, length}, &failed);
  reply(verdict, 299, "");
}

exports_patchbay_policy_branch_route_branch_verdict_t exports_patchbay_policy_branch_route_branch_route(void) {
  bool dropped = patchbay_policy_message_has_header(T("X-Verdict")) ||
                 !patchbay_policy_message_set_request_uri(T("sip:branch@192.0.2.5"), &failed);
  return dropped ? EXPORTS_PATCHBAY_POLICY_BRANCH_ROUTE_BRANCH_VERDICT_DROP : EXPORTS_PATCHBAY_POLICY_BRANCH_ROUTE_BRANCH_VERDICT_PASS;
}

exports_patchbay_policy_onreply_route_reply_verdict_t exports_patchbay_policy_onreply_route_onreply_route(void) {
  length = 0;
  statuses();
  // Without the blank that stands before every word.
  policy_string_t value = {(uint8_t *)report + 1, length - 1};
  bool dropped = patchbay_policy_message_has_header(T("X-Verdict")) ||
                 !patchbay_policy_message_set_header(T("X-Status"), &value, &failed);
  return dropped ? EXPORTS_PATCHBAY_POLICY_ONREPLY_ROUTE_REPLY_VERDICT_DROP : EXPORTS_PATCHBAY_POLICY_ONREPLY_ROUTE_REPLY_VERDICT_PASS;
}

void exports_patchbay_policy_failure_route_failure_route(exports_patchbay_policy_failure_route_failure_verdict_t *verdict) {
  verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_PASS;
  uint16_t status = 0;
  if (!patchbay_policy_message_response_header(T("X-Verdict"), &given)) return;
  patchbay_policy_message_response_status(&status);
  if (given.len == 5 && memcmp(given.ptr, "relay", 5) == 0) {
    patchbay_policy_targets_add_uri(T("sip:again@192.0.2.5"), &failed);
    verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_RELAY;
  } else if (given.len == 5 && memcmp(given.ptr, "reply", 5) == 0) {
    verdict->tag = EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_REPLY;
    verdict->val.reply.status = status + 1;
    policy_string_dup(&verdict->val.reply.reason, "Later");
  }
  policy_string_free(&given);
}

void exports_patchbay_policy_event_route_event_route(exports_patchbay_policy_event_route_event_t *event) {
  static const char *const changes[] = {"registration-added_", "registration-refreshed_", "registration-removed_", "registration-expired_"};
  uint64_t value = 1;
  length = 0;
  if (event->tag == EXPORTS_PATCHBAY_POLICY_EVENT_ROUTE_EVENT_TIMER) {
    put("timer_", 6);
    put((const char *)event->val.timer.ptr, event->val.timer.len);
  } else {
    // The four changes carry the same record.
    exports_patchbay_policy_event_route_registration_t *change = &event->val.registration_added;
    put(changes[event->tag], strlen(changes[event->tag]));
    put((const char *)change->aor.ptr, change->aor.len), put("_", 1);
    put((const char *)change->contact.ptr, change->contact.len);
    value = change->expires_secs;
  }
  policy_string_t name = {(uint8_t *)report, length};
  patchbay_policy_counters_add(&name, value, &failed);
  exports_patchbay_policy_event_route_event_free(event);
}
