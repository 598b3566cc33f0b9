//! The nth allocation, mapping, open, read, write, fsync or start of a thread fails, in each thing
//! that a host asks for. Whatever fails, the call succeeds or tells the right error, and the next
//! one is what it is without a failure. `CVX_FAULTS=all` tries every call; else a sample. With
//! `CVX_TEST_DEVICE=cuda` all of it on the simulated device, whose allocations fail in turn, too.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "faults/judge.rs"]
mod judge;
#[path = "faults/scenarios.rs"]
mod scenarios;
#[path = "capi/support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod support;

use judge::{judge, Kind, Order};

/// Not a test of its own: what the processes of the tests below run.
#[test]
fn in_child() {
    judge::child();
}

fn order(scenario: &str, kind: Kind) -> Order {
    Order {
        scenario: scenario.into(),
        kind,
        lasting: false,
        cold: false,
        size: 0,
        first: 1,
        step: 1,
    }
}

/// A judge that finds nothing proves nothing.
#[test]
fn planted_failures_are_found() {
    for (scenario, expected) in scenarios::PLANTED.iter().zip([
        "signal: 6",
        "Some(7.0)",
        "libtorch: no memory",
        "a later run",
        "hangs",
    ]) {
        let verdict = judge(&order(scenario, Kind::Memory));
        assert!(!verdict.wrong.is_empty(), "{scenario}: {verdict:?}");
        assert!(verdict.wrong[0].contains(expected), "{scenario}: {verdict:?}");
    }
}

/// A kind, whether each try has a process of its own, and the scenarios with which tries are made in
/// the sample.
type Part = (Kind, bool, &'static [(&'static str, u64)]);

/// What a minute is enough for on a core that others use, too.
const SAMPLE: [Part; 12] = [
    (Kind::Room, true, &[("load", 67), ("frames", 67)]),
    (Kind::Threads, true, &[("generate", 7), ("job", 7)]),
    (Kind::Threads, false, &[("regrow", 1), ("job", 7)]),
    // libgomp's own among them.
    (Kind::Thread, false, &[("regrow", 1), ("job", 1), ("frames", 1)]),
    (Kind::Memory, false, &[("load", 997), ("generate", 211), ("frames", 499), ("mp4", 11)]),
    (Kind::Memory, false, &[("job", 97), ("regrow", 97)]),
    (Kind::Code, true, &[("load", 1), ("frames", 1)]),
    (Kind::Own, false, &[("load", 1499), ("generate", 67), ("gif", 29), ("preview", 97)]),
    (Kind::Open, false, &[("load", 4), ("mp4", 1), ("gif", 1), ("png", 4)]),
    (Kind::Read, false, &[("load", 61)]),
    (Kind::Write, false, &[("mp4", 2), ("gif", 5), ("png", 7)]),
    (Kind::Sync, false, &[("mp4", 1), ("gif", 1), ("png", 4)]),
];

/// The same on the simulated device. Of threads the library has some more there, which a load starts.
const SAMPLE_ON_DEVICE: [Part; 9] = [
    (Kind::Room, true, &[("load", 12)]),
    (Kind::Memory, false, &[("load", 2999), ("generate", 997), ("mp4", 97)]),
    (Kind::Device, false, &[("load", 31), ("generate", 41), ("cached", 61), ("frames", 61)]),
    (Kind::Thread, true, &[("load", 1)]),
    (Kind::Own, false, &[("load", 2999), ("generate", 199), ("job", 199), ("preview", 499)]),
    (Kind::Open, false, &[("load", 7), ("mp4", 1), ("gif", 2)]),
    (Kind::Read, false, &[("load", 97)]),
    (Kind::Write, false, &[("mp4", 7), ("gif", 17)]),
    (Kind::Sync, false, &[("mp4", 1), ("gif", 1)]),
];

#[test]
fn nothing_that_fails_does_more_than_fail() {
    let which = std::env::var("CVX_FAULTS").unwrap_or_default();
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let mut orders = Vec::new();
    let on_device = scenarios::device() != "cpu";
    if which.is_empty() {
        let sample: &[Part] = if on_device { &SAMPLE_ON_DEVICE } else { &SAMPLE };
        for &(kind, cold, scenarios) in sample {
            for &(scenario, step) in scenarios {
                orders.push(Order { step, cold, ..order(scenario, kind) });
            }
        }
    } else {
        for kind in Kind::ALL {
            for scenario in scenarios::NAMES {
                if kind == Kind::Device && !on_device {
                    continue;
                }
                if which != "all" && !format!("{scenario}-{kind:?}").contains(&which) {
                    continue;
                }
                let limit = matches!(kind, Kind::Room | Kind::Threads | Kind::Code);
                orders.push(Order {
                    step: setting("CVX_FAULTS_STEP").unwrap_or(1),
                    size: setting("CVX_FAULTS_SIZE").unwrap_or(0) as usize,
                    lasting: setting("CVX_FAULTS_LASTING").is_some(),
                    cold: limit || setting("CVX_FAULTS_COLD").is_some(),
                    ..order(scenario, kind)
                });
            }
        }
    }
    let mut wrong = 0;
    for order in orders {
        let verdict = judge(&order);
        println!(
            "{} {:?}: {} tried, {} succeeded, {} told, {} wrong",
            order.scenario,
            order.kind,
            verdict.tried,
            verdict.succeeded,
            verdict.told,
            verdict.wrong.len()
        );
        for finding in &verdict.wrong {
            println!("    {finding}");
        }
        wrong += verdict.wrong.len();
    }
    assert_eq!(wrong, 0);
}
