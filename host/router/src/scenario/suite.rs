//! Plays all scenarios that the options name, in several threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use patchbay_policy::LoadError;

use super::bench::{Bench, Tested};
use super::play::{self, Failure};
use super::sources::{Group, find};
use super::{log, random};
use crate::config::scenario::{Scenario, ScenarioFile, Setting};

/// Policies run on the stack of their thread, as in a worker.
const STACK_BYTES: usize = 8 << 20;

/// What to test and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Folders of policies, folders of scenario files, scenario files.
    pub(crate) paths: Vec<PathBuf>,
    /// The component, whatever the files say.
    pub(crate) policy: Option<PathBuf>,
    /// Only scenarios with this in their name.
    pub(crate) filter: Option<String>,
    /// How many random scenarios to play instead of the written ones.
    pub(crate) random: Option<u64>,
    /// The first of their seeds.
    pub(crate) seed: u64,
    /// How often to play each scenario.
    pub(crate) repeat: u64,
    /// Threads.
    pub(crate) jobs: usize,
}

/// Why nothing was tested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuiteError {
    /// There is nothing to test.
    #[error("{0}")]
    Nothing(String),
    /// A policy does not build.
    #[error(transparent)]
    Build(#[from] patchbay_guest_build::BuildError),
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] patchbay_policy::EngineError),
    /// A thread can't be started.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// One scenario that was played.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// The name of the policy.
    pub(crate) policy: String,
    /// Where the scenario is written; of a random one the policy.
    pub(crate) file: PathBuf,
    /// The line it begins at; 0: nowhere.
    pub(crate) line: usize,
    /// What it shows.
    pub(crate) name: String,
    /// How long it took, all its rounds together.
    pub(crate) elapsed: Duration,
    /// Why it failed.
    pub(crate) failure: Option<Failure>,
}

/// What could not be played.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// A scenario file, or what was to be one or to have some.
    pub(crate) file: PathBuf,
    /// What is wrong, a line for each problem.
    pub(crate) problems: String,
}

impl Broken {
    /// Something that is wrong with a file.
    pub(super) fn new(file: &Path, problems: String) -> Broken {
        Broken {
            file: file.to_path_buf(),
            problems,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// What could not be played.
    pub(crate) broken: Vec<Broken>,
    /// Every scenario, in order. Of random ones that passed there is one for all.
    pub(crate) played: Vec<Played>,
    /// How many were played, rounds counted.
    pub(crate) count: u64,
    /// From the first to the last.
    pub(crate) elapsed: Duration,
}

/// A scenario that is ready.
struct Ready {
    policy: String,
    file: PathBuf,
    line: usize,
    name: String,
    work: Work,
}

enum Work {
    Written(Box<Scenario>, Result<Tested, LoadError>),
    Random(Arc<Vec<(Setting, Tested)>>, u64),
}

/// Plays what the options name. `progress` is told what is being built.
pub(crate) fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report, SuiteError> {
    log::start();
    let found = find(options, progress);
    let mut broken = found.broken;
    let cache = patchbay_guest_build::cache_folder().map(|folder| folder.join("compiled"));
    let mut bench = Bench::new(options.jobs, cache.ok());
    let mut ready = Vec::new();
    for group in found.groups {
        match options.random {
            Some(count) => match random_ones(group, count, options.seed, &mut bench)? {
                Ok(all) => ready.extend(all),
                Err(refused) => broken.push(refused),
            },
            None => ready.extend(written_ones(group, options, &mut bench)?),
        }
    }
    if ready.is_empty() && broken.is_empty() {
        let message = match &options.filter {
            Some(filter) => format!("no scenario has {filter:?} in its name"),
            None => "there are no scenarios".to_owned(),
        };
        return Err(SuiteError::Nothing(message));
    }
    let report = play_all(ready, options)?;
    Ok(Report { broken, ..report })
}

fn written_ones(
    group: Group,
    options: &Options,
    bench: &mut Bench,
) -> Result<Vec<Ready>, SuiteError> {
    let mut ready = Vec::new();
    for file in group.files {
        for scenario in file.scenarios {
            if options
                .filter
                .as_ref()
                .is_some_and(|filter| !scenario.name.contains(filter))
            {
                continue;
            }
            let tested = bench.test(&group.component, &scenario.setting)?;
            ready.push(Ready {
                policy: group.component.name.clone(),
                file: file.path.clone(),
                line: scenario.line,
                name: scenario.name.clone(),
                work: Work::Written(Box::new(scenario), tested),
            });
        }
    }
    Ok(ready)
}

/// Random scenarios in the settings of the files, in turns.
fn random_ones(
    group: Group,
    count: u64,
    seed: u64,
    bench: &mut Bench,
) -> Result<Result<Vec<Ready>, Broken>, SuiteError> {
    let mut settings: Vec<Setting> = group.files.into_iter().map(|file| file.setting).collect();
    settings.retain(|setting| !setting.phones.is_empty());
    if settings.is_empty() {
        settings.push(random_setting());
    }
    let mut tested = Vec::new();
    for setting in settings {
        match bench.test(&group.component, &setting)? {
            Ok(policy) => tested.push((setting, policy)),
            Err(error) => {
                let message = format!("{}: {}", group.place.display(), told(&error));
                return Ok(Err(Broken::new(&group.place, message)));
            }
        }
    }
    let tested = Arc::new(tested);
    let name = |seed| format!("random requests, seed {seed}");
    let all = (0..count)
        .map(|number| seed.wrapping_add(number))
        .map(|seed| Ready {
            policy: group.component.name.clone(),
            file: group.place.clone(),
            line: 0,
            name: name(seed),
            work: Work::Random(Arc::clone(&tested), seed),
        })
        .collect();
    Ok(Ok(all))
}

/// Phones of all kinds, for a policy without scenarios.
fn random_setting() -> Setting {
    let text = "[phone]\nalice = {}\nbob = { registered = true }\n\
        bob-mobile = { registered = true, aor = \"sip:bob@example.com\", q = \"0.5\", address = \"tcp:192.0.2.20:40000\" }\n\
        carol = { registered = true, password = \"secret\" }\ndave = { password = \"secret\" }\n";
    match ScenarioFile::of_text(text) {
        Ok(file) => file.setting,
        Err(problems) => unreachable!("it is right: {problems}"),
    }
}

fn play_all(ready: Vec<Ready>, options: &Options) -> Result<Report, SuiteError> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let played = Mutex::new(Vec::with_capacity(ready.len()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(ready) = ready.get(at) else { return };
            let result = ready.play(options.repeat);
            let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
            played.push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for number in 0..options.jobs.clamp(1, ready.len().max(1)) {
            std::thread::Builder::new()
                .name(format!("scenarios-{number}"))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, work)?;
        }
        Ok::<(), io::Error>(())
    })?;
    let elapsed = started.elapsed();
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(at, _)| *at);
    let played = played.into_iter().map(|(_, played)| played);
    Ok(Report {
        broken: Vec::new(),
        played: match options.random {
            Some(_) => together(played.collect(), options.seed),
            None => played.collect(),
        },
        count: ready.len() as u64 * options.repeat,
        elapsed,
    })
}

/// Random scenarios that failed, and all others of each policy as one.
fn together(played: Vec<Played>, seed: u64) -> Vec<Played> {
    let mut list: Vec<Played> = Vec::new();
    let mut passed: Vec<(Played, u64)> = Vec::new();
    for one in played {
        if one.failure.is_some() {
            list.push(one);
            continue;
        }
        match passed.iter_mut().find(|(other, _)| other.file == one.file) {
            Some((all, count)) => {
                all.elapsed += one.elapsed;
                *count += 1;
            }
            None => passed.push((one, 1)),
        }
    }
    for (mut all, count) in passed {
        all.name = format!("{count} random scenarios, from seed {seed}");
        list.push(all);
    }
    list
}

impl Ready {
    /// Plays it so often, or until it fails.
    fn play(&self, repeat: u64) -> Played {
        let started = Instant::now();
        let failure = (0..repeat.max(1)).find_map(|_| self.play_once().err());
        Played {
            policy: self.policy.clone(),
            file: self.file.clone(),
            line: self.line,
            name: self.name.clone(),
            elapsed: started.elapsed(),
            failure,
        }
    }

    fn play_once(&self) -> Result<(), Failure> {
        match &self.work {
            Work::Written(scenario, Err(error)) => refused(scenario, error),
            Work::Written(scenario, Ok(tested)) => {
                if let Some(error) = &scenario.init_error {
                    let expected = format!("init to fail with {error:?}");
                    return Err(without_ladder(
                        scenario.line,
                        expected,
                        "init that did not fail",
                    ));
                }
                let world = tested.world(&scenario.setting);
                let world = world.map_err(|problem| {
                    without_ladder(scenario.line, "what there is at the start", problem)
                })?;
                play::play(scenario, world, &self.policy)
            }
            Work::Random(settings, seed) => {
                let index = usize::try_from(*seed).unwrap_or_default() % settings.len().max(1);
                let Some((setting, tested)) = settings.get(index) else {
                    return Ok(());
                };
                let world = tested.random_world(setting, *seed);
                let world = world
                    .map_err(|problem| without_ladder(0, "what there is at the start", problem))?;
                random::play(setting, world, *seed)
            }
        }
    }
}

/// A component that could not be loaded: that may be what the scenario is about.
fn refused(scenario: &Scenario, error: &LoadError) -> Result<(), Failure> {
    let expected = match (&scenario.init_error, error) {
        (Some(part), LoadError::Init(text)) if text.contains(part) => return Ok(()),
        (Some(part), _) => format!("init to fail with {part:?}"),
        (None, LoadError::Init(_) | LoadError::InitFault(_)) => {
            "a policy that takes these settings".to_owned()
        }
        (None, _) => "a policy that the router can run".to_owned(),
    };
    Err(without_ladder(scenario.line, expected, told(error)))
}

/// What is wrong, with the section in which a scenario file grants.
fn told(error: &LoadError) -> String {
    error.told_for("[router.policy.grants] of the scenario file")
}

fn without_ladder(line: usize, expected: impl Into<String>, seen: impl Into<String>) -> Failure {
    Failure {
        line,
        expected: expected.into(),
        seen: seen.into(),
        message: None,
        ladder: String::new(),
    }
}
