//! Reaches beyond the router once; what has to come of it is in tests/tests/conformance/outside.rs.

const std = @import("std");
const policy = @import("policy");

const Verdict = policy.exports_patchbay_policy_request_route_request_verdict_t;

var failed: policy.patchbay_policy_types_error_t = undefined;

fn borrowed(text: []const u8) policy.policy_string_t {
    return .{ .ptr = @constCast(text.ptr), .len = text.len };
}

fn bytes(text: []const u8) policy.policy_list_u8_t {
    return .{ .ptr = @constCast(text.ptr), .len = text.len };
}

/// The value, or what kind of error there is; never freed.
fn get(name: []const u8) []const u8 {
    const kinds = [_][]const u8{ "not-found", "invalid-argument", "wrong-hook", "denied", "limit", "unavailable" };
    var key = borrowed(name);
    var value: policy.policy_option_list_u8_t = undefined;
    if (!policy.patchbay_policy_keyvalue_get(&key, &value, &failed)) return kinds[failed.kind];
    return if (value.is_some) value.val.ptr[0..value.val.len] else "-";
}

fn expect(succeeded: bool) void {
    if (!succeeded) @trap();
}

export fn exports_patchbay_policy_request_route_request_route(verdict: *Verdict) void {
    var header = policy.policy_tuple2_string_string_t{ .f0 = borrowed("X-A"), .f1 = borrowed("1") };
    var request = policy.patchbay_policy_http_request_t{
        .method = borrowed("POST"),
        .url = borrowed("http://lcr.example/route"),
        .headers = .{ .ptr = &header, .len = 1 },
        .body = bytes("hello"),
        .timeout_ms = .{ .is_some = true, .val = 250 },
    };
    var response: policy.patchbay_policy_http_response_t = undefined;
    expect(policy.patchbay_policy_http_fetch(&request, &response, &failed));
    var key = borrowed("calls/a");
    expect(policy.patchbay_policy_keyvalue_set(&key, &response.body, &failed));
    var number = borrowed("calls/n");
    var sum: i64 = 0;
    expect(policy.patchbay_policy_keyvalue_increment_with_ttl(&number, 1 << 40, 60, &sum, &failed));
    const second = response.headers.ptr[1].f1;
    var space: [256]u8 = undefined;
    const report = std.fmt.bufPrint(&space, "{d} {s} {s} {d} {s}", .{
        response.status, second.ptr[0..second.len], get("calls/a"), sum, get("other"),
    }) catch @trap();
    policy.patchbay_policy_http_response_free(&response);
    var kind = borrowed("text/plain");
    var body = bytes(report);
    expect(policy.patchbay_policy_reply_set_body(&kind, &body, &failed));
    verdict.tag = policy.EXPORTS_PATCHBAY_POLICY_REQUEST_ROUTE_REQUEST_VERDICT_REPLY;
    verdict.val.reply = .{ .status = 299, .reason = borrowed("") };
}
