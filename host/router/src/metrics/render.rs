//! The numbers as Prometheus text.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use patchbay_core::door::{HookFault, Transport};
use patchbay_policy::Hook;

use super::{
    Counter, DropLabel, Family, Label, LimitLabel, MethodLabel, Metrics, Reading,
    RegistrationResult, StatusClass, WorkerMetrics,
};

impl Metrics {
    /// The sum of one counter over the workers.
    pub fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(worker).value())
            .sum()
    }

    /// The Prometheus text format, with these readings at the end.
    pub fn render(&self, readings: &[Reading]) -> String {
        let mut text = Exposition::default();
        self.render_messages(&mut text);
        self.render_requests(&mut text);
        self.render_hooks(&mut text);
        self.render_process(&mut text);
        self.render_policy_counters(&mut text);
        let mut last = "";
        for reading in readings {
            if reading.name != last {
                text.head(
                    reading.name,
                    if reading.counter { "counter" } else { "gauge" },
                    reading.help,
                );
                last = reading.name;
            }
            let labels: Vec<(&str, &str)> = reading
                .labels
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            text.sample(reading.name, &labels, reading.value);
        }
        text.0
    }

    fn render_messages(&self, text: &mut Exposition) {
        self.family::<Transport, 5>(
            text,
            "sip_messages_received_total",
            "transport",
            "SIP messages received.",
            |w| &w.messages_received,
        );
        self.family::<Transport, 5>(
            text,
            "sip_received_bytes_total",
            "transport",
            "Bytes of SIP received.",
            |w| &w.bytes_received,
        );
        self.family::<Transport, 5>(
            text,
            "sip_messages_sent_total",
            "transport",
            "SIP messages sent.",
            |w| &w.messages_sent,
        );
        self.family::<Transport, 5>(
            text,
            "sip_sent_bytes_total",
            "transport",
            "Bytes of SIP sent.",
            |w| &w.bytes_sent,
        );
        self.family::<Transport, 5>(
            text,
            "sip_send_failures_total",
            "transport",
            "Messages that could not be sent.",
            |w| &w.send_failures,
        );
        self.counter(
            text,
            "udp_system_calls_total",
            "System calls for datagrams: those that receive and send, with io_uring those that wait too.",
            |w| &w.udp_calls,
        );
        self.family::<Transport, 5>(
            text,
            "sip_connections_opened_total",
            "transport",
            "Connections opened or accepted.",
            |w| &w.connections_opened,
        );
        self.counter(
            text,
            "sip_keep_alives_total",
            "Keep-alives received.",
            |w| &w.keep_alives,
        );
        self.counter(
            text,
            "sip_messages_handed_over_total",
            "Messages handed to the worker they belong to.",
            |w| &w.handed_over,
        );
        self.family::<DropLabel, 6>(
            text,
            "sip_messages_dropped_total",
            "reason",
            "Messages dropped without an answer.",
            |w| &w.dropped,
        );
        self.family::<LimitLabel, 12>(
            text,
            "sip_limits_total",
            "limit",
            "Times a limit was reached.",
            |w| &w.limits,
        );
    }

    fn render_requests(&self, text: &mut Exposition) {
        self.family::<MethodLabel, 7>(
            text,
            "sip_requests_total",
            "method",
            "Requests received, without retransmissions; of ACK and CANCEL each that came.",
            |w| &w.requests,
        );
        self.counter(
            text,
            "sip_retransmissions_total",
            "Retransmissions absorbed.",
            |w| &w.retransmissions,
        );
        self.family::<StatusClass, 6>(
            text,
            "sip_replies_total",
            "class",
            "Final responses that the router made itself.",
            |w| &w.replies,
        );
        self.family::<StatusClass, 6>(
            text,
            "sip_invite_responses_total",
            "class",
            "Final responses to INVITE that were forwarded.",
            |w| &w.invite_finals,
        );
        self.counter(
            text,
            "sip_timer_c_total",
            "Branches ended by Timer C.",
            |w| &w.timer_c,
        );
        self.gauge(text, "sip_transactions", "Live transactions.", |w| {
            &w.transactions
        });
        self.family::<RegistrationResult, 3>(
            text,
            "sip_registrations_total",
            "result",
            "REGISTER requests handled.",
            |w| &w.registrations,
        );
        self.counter(
            text,
            "sip_resolutions_total",
            "Names and URIs resolved.",
            |w| &w.resolutions,
        );
        self.counter(
            text,
            "sip_resolution_failures_total",
            "Names and URIs without an answer.",
            |w| &w.resolution_failures,
        );
    }

    fn render_hooks(&self, text: &mut Exposition) {
        self.family::<Hook, 5>(text, "hook_runs_total", "hook", "Hook runs.", |w| {
            &w.hook_runs
        });
        self.family::<HookFault, 7>(
            text,
            "hook_faults_total",
            "fault",
            "Hook runs without a verdict.",
            |w| &w.hook_faults,
        );
        self.gauge(text, "hooks", "Hooks that run or wait now.", |w| &w.hooks);
        text.head(
            "hook_seconds_total",
            "counter",
            "Time in hooks, waiting included.",
        );
        for (index, hook) in <Hook as Label>::VALUES.iter().enumerate() {
            let nanoseconds: u64 = self
                .workers
                .iter()
                .filter_map(|worker| worker.hook_nanoseconds.0.get(index))
                .map(Counter::value)
                .sum();
            let seconds = format!(
                "{}.{:09}",
                nanoseconds / 1_000_000_000,
                nanoseconds % 1_000_000_000
            );
            text.sample("hook_seconds_total", &[("hook", hook)], seconds);
        }
    }

    fn render_process(&self, text: &mut Exposition) {
        for (name, help, counter) in [
            (
                "policy_activations_total",
                "Policy versions that became active.",
                &self.activations,
            ),
            (
                "policy_activation_failures_total",
                "Policy versions that were refused.",
                &self.activation_failures,
            ),
            (
                "policy_automatic_rollbacks_total",
                "Policy versions rolled back because they kept failing.",
                &self.automatic_rollbacks,
            ),
            (
                "policy_automatic_aborts_total",
                "Canaries aborted because a guard did not hold, or because they do not start for a route that a reload has brought.",
                &self.automatic_aborts,
            ),
            (
                "reloads_total",
                "Reloads of the configuration.",
                &self.reloads,
            ),
            (
                "reload_failures_total",
                "Reloads that were refused.",
                &self.reload_failures,
            ),
        ] {
            text.head(name, "counter", help);
            text.sample(name, &[], counter.value());
        }
        text.head("workers", "gauge", "Worker threads.");
        text.sample("workers", &[], self.workers.len());
    }

    fn render_policy_counters(&self, text: &mut Exposition) {
        let counters = self
            .policy_counters
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if counters.is_empty() {
            return;
        }
        text.head(
            "policy_counter_total",
            "counter",
            "What policies count with counters.add.",
        );
        for ((policy, name), value) in counters.iter() {
            text.sample(
                "policy_counter_total",
                &[("policy", policy), ("name", name)],
                value.load(Ordering::Relaxed),
            );
        }
    }

    fn counter(
        &self,
        text: &mut Exposition,
        name: &str,
        help: &str,
        counter: impl Fn(&WorkerMetrics) -> &Counter,
    ) {
        text.head(name, "counter", help);
        text.sample(name, &[], self.sum(counter));
    }

    fn gauge(
        &self,
        text: &mut Exposition,
        name: &str,
        help: &str,
        counter: impl Fn(&WorkerMetrics) -> &Counter,
    ) {
        text.head(name, "gauge", help);
        text.sample(name, &[], self.sum(counter));
    }

    fn family<L: Label, const N: usize>(
        &self,
        text: &mut Exposition,
        name: &str,
        label: &str,
        help: &str,
        family: impl Fn(&WorkerMetrics) -> &Family<N>,
    ) {
        text.head(name, "counter", help);
        for (index, value) in L::VALUES.iter().enumerate() {
            let sum: u64 = self
                .workers
                .iter()
                .filter_map(|worker| family(worker).0.get(index))
                .map(Counter::value)
                .sum();
            text.sample(name, &[(label, value)], sum);
        }
    }
}

/// Text in Prometheus' exposition format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(
            self.0,
            "# HELP patchbay_{name} {help}\n# TYPE patchbay_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str("patchbay_");
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Writing to a String does not fail.
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed() {
        let metrics = Metrics::new(2);
        for worker in &metrics.workers {
            worker.messages_received.increment(Transport::Tcp);
            worker.retransmissions.add(3);
        }
        let text = metrics.render(&[]);
        assert!(
            text.contains("\npatchbay_sip_messages_received_total{transport=\"tcp\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("\npatchbay_sip_retransmissions_total 6\n"),
            "{text}"
        );
    }

    #[test]
    fn times_are_in_seconds() {
        let metrics = Metrics::new(1);
        metrics.workers[0]
            .hook_nanoseconds
            .add(Hook::RequestRoute, 1_500_000_000);
        assert!(
            metrics
                .render(&[])
                .contains("patchbay_hook_seconds_total{hook=\"request_route\"} 1.500000000\n")
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new(1);
        metrics
            .policy_counters
            .add("default", "a\"b\\c\nd", 2)
            .expect("room");
        assert!(metrics.render(&[]).contains(
            "patchbay_policy_counter_total{policy=\"default\",name=\"a\\\"b\\\\c\\nd\"} 2\n"
        ));
    }

    #[test]
    fn every_metric_has_help_and_type_once() {
        let text = Metrics::new(1).render(&[]);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert_eq!(
                text.matches(&format!("# TYPE {name} ")).count(),
                1,
                "{name}"
            );
            assert_eq!(
                text.matches(&format!("# HELP {name} ")).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn every_metric_is_documented() {
        let documentation = include_str!("../../../../docs/metrics.md");
        let text = Metrics::new(1).render(&[]);
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().expect("a name");
            assert!(
                documentation.contains(&format!("`{name}`")),
                "docs/metrics.md does not have {name}"
            );
        }
    }
}
