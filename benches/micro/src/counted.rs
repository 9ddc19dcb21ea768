//! Instructions: the same suites in a process under callgrind, which this one steers.
//!
//! The child does every step once, so that what is filled once is filled, and then says on its output when a step begins and ends;
//! at both moments this process takes a profile. What a step without operations costs is subtracted from each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use patchbay_tests::callgrind::{Callgrind, in_path};

use crate::suite::Suite;

/// The argument that makes this program the child.
pub(crate) const CHILD: &str = "--under-callgrind";

/// Instructions per operation, by suite and step.
pub(crate) type Counts = BTreeMap<(String, String), f64>;

/// The suite without steps that cost anything.
const NOTHING: &str = "nothing";

/// Runs suites under callgrind. Without valgrind there are no counts, and the reason is printed.
pub(crate) fn count(suites: &[&str]) -> Counts {
    if in_path("valgrind").is_none() || in_path("vgdb").is_none() {
        eprintln!("valgrind is missing, so no instructions are counted (apt-get install valgrind)");
        return Counts::new();
    }
    let mut parent = Parent::start(suites);
    let mut counts = Counts::new();
    let mut overhead = 0.0;
    while let Some((suite, step, operations)) = parent.next_step() {
        let spent = parent.measure() as f64;
        if suite == NOTHING {
            overhead = spent;
            continue;
        }
        let each = (spent - overhead) / operations;
        counts.insert((suite, step), each.max(0.0));
    }
    counts
}

/// The child as this process sees it.
struct Parent {
    callgrind: Callgrind,
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Parent {
    fn start(suites: &[&str]) -> Parent {
        let callgrind = Callgrind::default();
        let words = callgrind.command();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(std::env::current_exe().expect("this program has a path"))
            .arg(CHILD)
            .args(suites)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start valgrind");
        Parent {
            orders: child.stdin.take().expect("a pipe"),
            reports: BufReader::new(child.stdout.take().expect("a pipe")),
            callgrind,
            child,
        }
    }

    /// Waits for the next step: its suite, its name, its operations. `None`: there is no more.
    fn next_step(&mut self) -> Option<(String, String, f64)> {
        loop {
            let line = self.report()?;
            let mut words = line.splitn(4, '\t');
            match words.next()? {
                "suite" => {
                    eprintln!("{}: instructions", words.next()?);
                    self.callgrind.start_counting(self.child.id());
                }
                "over" => self.callgrind.stop_counting(self.child.id()),
                "begin" => {
                    let (suite, step) = (words.next()?.to_owned(), words.next()?.to_owned());
                    return Some((suite, step, words.next()?.parse().ok()?));
                }
                other => panic!("the child says {other}"),
            }
            self.go_on();
        }
    }

    /// Lets the child do its step.
    fn measure(&mut self) -> u64 {
        self.callgrind.take(self.child.id());
        self.go_on();
        let end = self.report();
        assert_eq!(end.as_deref(), Some("end"), "the child ended too early");
        let threads = self.callgrind.take(self.child.id());
        self.go_on();
        // The first thread is the one that does the steps.
        threads[0].instructions
    }

    fn report(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.reports.read_line(&mut line).expect("read a pipe");
        (length > 0).then(|| line.trim_end().to_owned())
    }

    fn go_on(&mut self) {
        self.orders.write_all(b"\n").expect("write to a pipe");
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // It has ended, or there is no use for it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: does the steps of these suites when it is told.
pub(crate) fn serve(suites: &[String]) {
    serve_suite(NOTHING, &mut Nothing);
    for name in suites {
        let mut suite = crate::suite_of(name).expect("a suite of that name");
        serve_suite(name, suite.as_mut());
    }
}

fn serve_suite(name: &str, suite: &mut dyn Suite) {
    let steps = suite.steps();
    (0..steps.len()).for_each(|step| suite.run(step));
    ask(&format!("suite\t{name}"));
    for (index, step) in steps.iter().enumerate() {
        let Some(step) = step else {
            suite.run(index);
            continue;
        };
        ask(&format!("begin\t{name}\t{step}\t{}", suite.operations()));
        suite.run(index);
        ask("end");
    }
    ask("over");
}

/// Says something and waits until the parent has taken notice.
fn ask(line: &str) {
    println!("{line}");
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("the parent's answer");
}

struct Nothing;

impl Suite for Nothing {
    fn operations(&self) -> u64 {
        1
    }

    fn steps(&self) -> Vec<Option<&'static str>> {
        // The first is there to be forgotten.
        vec![Some("first"), Some("second")]
    }

    fn run(&mut self, _: usize) {}
}
