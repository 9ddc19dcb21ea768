//! Screening of unwanted calls, and voicemail when the callee is busy: see README.md.
//!
//! The functions patchbay_policy_* are the imports of the WIT package, exports_patchbay_policy_* the hooks; both are in the module
//! `policy`, which the build makes of the C bindings.

const std = @import("std");
const policy = @import("policy");

const Request = policy.exports_patchbay_policy_request_route_request_verdict_t;
const Failure = policy.exports_patchbay_policy_failure_route_failure_verdict_t;

/// The setting, read once per instance and never freed.
var blocked: []const u8 = "";

/// A text of ours as an argument. The router only reads it.
fn borrowed(text: []const u8) policy.policy_string_t {
    return .{ .ptr = @constCast(text.ptr), .len = text.len };
}

/// A text that the router gave; `free` gives it back.
const Owned = struct {
    string: policy.policy_string_t,

    fn bytes(self: Owned) []const u8 {
        return if (self.string.len == 0) "" else self.string.ptr[0..self.string.len];
    }

    fn free(self: *Owned) void {
        policy.policy_string_free(&self.string);
    }
};

fn setting(name: []const u8) ?Owned {
    var argument = borrowed(name);
    var found: Owned = undefined;
    return if (policy.patchbay_policy_settings_get(&argument, &found.string)) found else null;
}

fn contains(text: []const u8, part: []const u8) bool {
    return std.mem.indexOf(u8, text, part) != null;
}

fn reply(verdict: *Request, status: u16) void {
    verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
    verdict.val.reply = .{ .status = status, .reason = borrowed("") };
}

fn isScanner() bool {
    var name = borrowed("User-Agent");
    var agent: Owned = undefined;
    if (!policy.patchbay_policy_message_header(&name, &agent.string)) return false;
    defer agent.free();
    return contains(agent.bytes(), "friendly-scanner");
}

fn isBlocked() bool {
    var caller: Owned = undefined;
    policy.patchbay_policy_message_from_uri(&caller.string);
    defer caller.free();
    var words = std.mem.tokenizeScalar(u8, blocked, ' ');
    while (words.next()) |word| {
        if (contains(caller.bytes(), word)) return true;
    }
    return false;
}

fn isForRouter() bool {
    var user: Owned = undefined;
    policy.patchbay_policy_message_request_user(&user.string);
    defer user.free();
    return user.bytes().len == 0;
}

fn routeRegister(verdict: *Request) void {
    const verified = !policy.patchbay_policy_auth_required() or
        policy.patchbay_policy_auth_verify() == policy.PATCHBAY_POLICY_AUTH_VERIFICATION_VERIFIED;
    verdict.tag = if (verified)
        policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_SAVE
    else
        policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_CHALLENGE;
}

/// To every contact of the user in the Request-URI.
fn routeToUser(verdict: *Request) void {
    var found: policy.patchbay_policy_location_lookup_result_t = undefined;
    var failed: policy.patchbay_policy_types_error_t = undefined;
    if (!policy.patchbay_policy_location_lookup_request_uri(&found, &failed)) {
        defer policy.patchbay_policy_types_error_free(&failed);
        return reply(verdict, if (failed.kind == policy.PATCHBAY_POLICY_TYPES_ERROR_KIND_NOT_FOUND) 404 else 500);
    }
    if (found.count == 0) return reply(verdict, 480);
    var added: u32 = undefined;
    if (!policy.patchbay_policy_targets_add_lookup(found.lookup, &added, &failed)) {
        defer policy.patchbay_policy_types_error_free(&failed);
        return reply(verdict, 500);
    }
    policy.patchbay_policy_transaction_arm(policy.PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE |
        policy.PATCHBAY_POLICY_TRANSACTION_HOOKS_FAILURE_ROUTE);
    verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
}

export fn exports_patchbay_policy_init_init(problem: *policy.policy_string_t) bool {
    if (setting("blocked")) |words| blocked = words.bytes();
    var voicemail = setting("voicemail") orelse return true;
    defer voicemail.free();
    for ([_][]const u8{ "sip:", "sips:" }) |scheme| {
        if (std.mem.startsWith(u8, voicemail.bytes(), scheme)) return true;
    }
    policy.policy_string_dup(problem, "voicemail is no SIP URI");
    return false;
}

export fn exports_patchbay_policy_request_route_request_route(verdict: *Request) void {
    const facts = policy.patchbay_policy_message_facts();
    if (facts & policy.PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_IN_DIALOG != 0) {
        verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_RELAY;
        return;
    }
    if (facts & policy.PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_ACK != 0 or isScanner()) {
        verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_DROP;
        return;
    }
    if (isBlocked()) return reply(verdict, 603);
    if (facts & policy.PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_REGISTER != 0) return routeRegister(verdict);
    if (isForRouter()) {
        const is_options = facts & policy.PATCHBAY_POLICY_MESSAGE_MESSAGE_FACTS_OPTIONS != 0;
        return reply(verdict, if (is_options) 200 else 405);
    }
    routeToUser(verdict);
}

export fn exports_patchbay_policy_onreply_route_onreply_route() policy.exports_patchbay_policy_onreply_route_reply_verdict_t {
    // What the operator does not grant is left out.
    var server = borrowed("Server");
    var screened = borrowed("X-Screened");
    var yes = borrowed("yes");
    var refused: policy.patchbay_policy_types_error_t = undefined;
    var removed: u32 = undefined;
    if (!policy.patchbay_policy_message_remove_header(&server, &removed, &refused)) policy.patchbay_policy_types_error_free(&refused);
    if (!policy.patchbay_policy_message_set_header(&screened, &yes, &refused)) policy.patchbay_policy_types_error_free(&refused);
    return policy.EXPORTS_PATCHBAY_POLICY_ONREPLY_ROUTE_REPLY_VERDICT_PASS;
}

export fn exports_patchbay_policy_failure_route_failure_route(verdict: *Failure) void {
    verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_PASS;
    var status: u16 = undefined;
    if (!policy.patchbay_policy_message_response_status(&status) or status != 486) return;
    var voicemail = setting("voicemail") orelse return;
    defer voicemail.free();
    var failed: policy.patchbay_policy_types_error_t = undefined;
    if (!policy.patchbay_policy_targets_add_uri(&voicemail.string, &failed)) {
        policy.patchbay_policy_types_error_free(&failed);
        return;
    }
    policy.patchbay_policy_transaction_arm(policy.PATCHBAY_POLICY_TRANSACTION_HOOKS_ONREPLY_ROUTE);
    verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_FAILURE_ROUTE_FAILURE_VERDICT_RELAY;
}
