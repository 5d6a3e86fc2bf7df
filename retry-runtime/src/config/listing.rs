//! Lists settings with their values and origins.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::choices::Choice;
use super::{Config, Serve, VARIABLES};
use crate::api::engine::shown_address;
use crate::api::retries::Retries;
use crate::api::spec::{Annotation, FunctionSpec};
use crate::sys::attributes::parallelism;

/// `true` where there are worker processes.
const HAS_PROCESSES: bool = cfg!(all(target_os = "linux", not(retry_no_processes)));

/// One line of a list.
struct Row {
    name: String,
    value: String,
    origin: String,
}

/// A heading with the lines below it.
struct Section {
    title: String,
    rows: Vec<Row>,
}

/// The settings of functions that a runtime can override.
const OVERRIDES: &[&str] = &[
    "retries",
    "timeout",
    "deadline",
    "grace",
    "max_workers",
    "min_workers",
    "startup_timeout",
    "scaledown_window",
];

impl Config {
    /// Returns whether a variable was set.
    pub(super) fn reads(&self, variable: &str) -> bool {
        self.variables.iter().any(|(name, _)| *name == variable)
    }

    /// Lists these settings below `title`, and then those of each function, with values and origins.
    pub(crate) fn list(
        &self,
        title: &str,
        functions: &[(Annotation, &'static FunctionSpec)],
    ) -> String {
        let mut sections = vec![self.runtime(title)];
        sections.extend(
            functions
                .iter()
                .map(|(kind, spec)| self.function(*kind, spec)),
        );
        let width = |column: fn(&Row) -> &str| {
            let rows = sections.iter().flat_map(|section| &section.rows);
            rows.map(|row| column(row).chars().count()).max()
        };
        let names = width(|row| &row.name).unwrap_or_default();
        let values = width(|row| &row.value).unwrap_or_default();
        let mut text = String::new();
        for (place, section) in sections.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{}", section.title);
            for Row {
                name,
                value,
                origin,
            } in &section.rows
            {
                let _ = writeln!(text, "  {name:names$}  {value:values$}  {origin}");
            }
        }
        text
    }

    /// Returns where a setting comes from, if it does not come from an attribute or the default.
    fn origin(&self, setting: &str) -> Option<String> {
        if self.built.contains(&setting) {
            return Some("builder".to_owned());
        }
        let variable = format!("RETRY_{}", setting.to_uppercase());
        self.reads(&variable).then_some(variable)
    }

    /// Lists the settings of the runtime itself.
    fn runtime(&self, title: &str) -> Section {
        let known = [
            (
                "max_processes",
                self.max_processes
                    .map_or_else(|| "unlimited".to_owned(), |most| most.to_string()),
            ),
            ("max_message", bytes(self.max_message as u64)),
            ("max_buffered", bytes(self.max_buffered as u64)),
            ("retained_memory", bytes(self.retained_memory as u64)),
            ("output", self.output.word().to_owned()),
            ("progress", self.progress.word().to_owned()),
            ("status", self.status.word().to_owned()),
            ("fail_on", self.fail_on.word().to_owned()),
            ("show_inputs", u8::from(self.show_inputs).to_string()),
            ("events", file(self.events.as_deref())),
            ("report", file(self.report.as_deref())),
            ("trace", file(self.trace.as_deref())),
            ("shutdown_grace", time(self.shutdown_grace)),
            (
                "engine",
                match &self.address {
                    Some(address) => shown_address(address),
                    None if self.inline || !HAS_PROCESSES => "inline".to_owned(),
                    None => "processes".to_owned(),
                },
            ),
            (
                "serve",
                match &self.serve {
                    None => "nothing".to_owned(),
                    Some(Serve::All) => "all".to_owned(),
                    Some(Serve::These(names)) => names.join(","),
                },
            ),
            ("host_timeout", time(self.host_timeout)),
            (
                "version",
                self.version
                    .clone()
                    .unwrap_or_else(|| "that of the file".to_owned()),
            ),
            (
                "seed",
                self.seed
                    .map_or_else(|| "random".to_owned(), |seed| seed.to_string()),
            ),
            ("spin", u8::from(self.spin).to_string()),
            ("busy_poll", u8::from(self.busy_poll).to_string()),
            ("transport", self.transport.word().to_owned()),
        ];
        let is_known = |setting: &str| known.iter().any(|(name, _)| *name == setting);
        // A variable that has no line above is shown as it is written.
        let mut others = Vec::new();
        for (variable, _) in VARIABLES {
            let setting = variable.trim_start_matches("RETRY_").to_lowercase();
            if !is_known(&setting) && !OVERRIDES.contains(&&*setting) && setting != "config" {
                let mut set = self.variables.iter();
                let text = set.find(|(name, _)| name == variable);
                let text = text.map_or_else(|| "not set".to_owned(), |(_, text)| text.clone());
                others.push((setting, text));
            }
        }
        let known = known.map(|(name, value)| (name.to_owned(), value));
        let mut rows: Vec<Row> = known
            .into_iter()
            .chain(others)
            .map(|(name, value)| {
                let origin = self.origin(&name);
                Row {
                    name,
                    value,
                    origin: origin.unwrap_or_else(|| "default".to_owned()),
                }
            })
            .collect();
        rows.extend(self.of_workers());
        Section {
            title: title.to_owned(),
            rows,
        }
    }

    /// Lists what only a builder can give.
    fn of_workers(&self) -> Vec<Row> {
        let row = |name: String, value: String| Row {
            name,
            value,
            origin: "builder".to_owned(),
        };
        let path = |name: &str, path: &Option<std::path::PathBuf>| {
            let path = path.as_ref()?;
            Some(row(name.to_owned(), path.display().to_string()))
        };
        let variables = self.environment.iter().map(|(name, value)| {
            // A value may be a secret.
            let value = if value.is_some() { "set" } else { "removed" };
            row(format!("env {}", name.display()), value.to_owned())
        });
        variables
            .chain(path("current_dir", &self.directory))
            .chain(path("worker_program", &self.program))
            .collect()
    }

    /// Lists the options of a function, of a service's workers or of its method, as they apply to calls and
    /// workers of this runtime.
    fn function(&self, kind: Annotation, spec: &'static FunctionSpec) -> Section {
        let attribute = match kind {
            Annotation::Function => "#[function]",
            Annotation::Service => "#[service]",
            Annotation::Method => "#[method]",
        };
        let place = format!("{}:{}", spec.file, spec.line);
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String, fallback: &str| {
            let own = OVERRIDES.contains(&name).then(|| self.origin(name));
            let written = || format!("{attribute} at {place}");
            let origin = own.flatten().unwrap_or_else(|| {
                if spec.is_written(name) {
                    written()
                } else {
                    fallback.to_owned()
                }
            });
            rows.push(Row {
                name: name.to_owned(),
                value,
                origin,
            });
        };
        let policy = self.options.policy(spec);
        let unlimited = || "unlimited".to_owned();
        let none = || "none".to_owned();
        if kind != Annotation::Service {
            row("retries", retries(&policy.retries), "default");
            row("timeout", policy.timeout.map_or_else(none, time), "default");
            row(
                "deadline",
                policy.deadline.map_or_else(none, time),
                "default",
            );
            let once = if policy.at_most_once { "yes" } else { "no" };
            row("at_most_once", once.to_owned(), "default");
        }
        if kind != Annotation::Method {
            row("grace", time(policy.grace.unwrap_or(spec.grace)), "default");
            let most = self.max_workers.or(spec.max_workers);
            let most = most.unwrap_or_else(parallelism).to_string();
            row("max_workers", most, "default: one for each core");
            let least = self.min_workers.unwrap_or(spec.min_workers);
            row("min_workers", least.to_string(), "default");
            let limit = self.startup_timeout.unwrap_or(spec.startup_timeout);
            row("startup_timeout", time(limit), "default");
            let window = self.scaledown_window.unwrap_or(spec.scaledown_window);
            row("scaledown_window", time(window), "default");
            let calls = spec.max_calls_per_worker;
            let calls = calls.map_or_else(unlimited, |calls| calls.to_string());
            row("max_calls_per_worker", calls, "default");
            row(
                "memory",
                spec.memory.map_or_else(unlimited, bytes),
                "default",
            );
            let growth = spec.max_rss_growth.map_or_else(unlimited, bytes);
            row("max_rss_growth", growth, "default");
            row("concurrency", spec.concurrency.to_string(), "default");
            let batch = spec.batch.map_or_else(none, |batch| {
                format!("{} within {}", batch.max_size, time(batch.max_wait))
            });
            row("batch", batch, "default");
            let crashes = spec
                .crash_limit
                .get()
                .map_or_else(unlimited, |(crashes, window)| {
                    format!("{crashes} within {}", time(window))
                });
            row("crash_limit", crashes, "default");
        }
        Section {
            title: format!("{} ({place})", spec.name),
            rows,
        }
    }
}

/// Returns the path of a file, if there is one.
fn file(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

/// Returns a retry policy as text, such as `3, after 1s`.
fn retries(policy: &Retries) -> String {
    let most = policy.max_retries();
    let (Some(first), Some(last)) = (policy.delay(1), policy.delay(most)) else {
        return most.to_string();
    };
    let (first, last) = (time(first), time(last));
    let jitter = if policy.is_jittered() {
        ", with jitter"
    } else {
        ""
    };
    if first == last {
        format!("{most}, after {first}{jitter}")
    } else {
        format!("{most}, after {first} to {last}{jitter}")
    }
}

/// Returns a duration as users write it.
fn time(duration: Duration) -> String {
    u64::try_from(duration.as_nanos()).map_or_else(
        |_| format!("{duration:?}"),
        |nanos| retry_syntax::DURATION.write(nanos),
    )
}

/// Returns a size as users write it.
fn bytes(size: u64) -> String {
    retry_syntax::SIZE.write(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPEC: FunctionSpec = FunctionSpec::new("app::resize", "src/main.rs", 14, &[])
        .timeout(Duration::from_secs(10))
        .retries(Retries::exponential(3))
        .memory(512 << 20)
        .single_use_workers();

    fn with(variables: &[(&str, &str)]) -> Config {
        let (config, problems) = Config::read(|name| {
            let mut all = variables.iter();
            all.find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).into())
        });
        assert_eq!(problems, [""; 0]);
        config
    }

    /// Returns the value and the origin of a setting.
    fn line(list: &str, name: &str) -> (String, String) {
        let mut lines = list.lines().map(str::trim);
        let line = lines.find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {list}"));
        let mut columns = line[name.len()..].trim().split("  ");
        let value = columns.next().unwrap().to_owned();
        (value, columns.last().unwrap().trim().to_owned())
    }

    #[test]
    fn the_value_that_holds_is_listed_with_its_origin() {
        let functions = [(Annotation::Function, &SPEC)];
        let mut config = with(&[
            ("RETRY_TIMEOUT", " 1500ms"),
            ("RETRY_MAX_WORKERS", "3"),
            ("RETRY_MAX_MESSAGE", "2MiB"),
            ("RETRY_DEADLINE", "none"),
        ]);
        config.max_workers = Some(4);
        config.note_built("max_workers");
        let list = config.list("runtime", &functions);
        for (name, value, origin) in [
            ("max_message", "2MiB", "RETRY_MAX_MESSAGE"),
            ("max_buffered", "64MiB", "default"),
            ("shutdown_grace", "10s", "default"),
            ("timeout", "1500ms", "RETRY_TIMEOUT"),
            ("deadline", "none", "RETRY_DEADLINE"),
            ("max_workers", "4", "builder"),
            (
                "retries",
                "3, after 1s to 4s",
                "#[function] at src/main.rs:14",
            ),
            ("memory", "512MiB", "#[function] at src/main.rs:14"),
            ("max_calls_per_worker", "1", "#[function] at src/main.rs:14"),
            ("startup_timeout", "1m", "default"),
            ("crash_limit", "8 within 1m", "default"),
        ] {
            let expected = (value.to_owned(), origin.to_owned());
            assert_eq!(line(&list, name), expected, "{name}");
        }
        assert!(
            list.contains("\n\napp::resize (src/main.rs:14)\n"),
            "{list}"
        );
        let alone = with(&[]).list("runtime", &functions);
        let (_, origin) = line(&alone, "max_workers");
        assert_eq!(origin, "default: one for each core");
        assert_eq!(line(&alone, "timeout").0, "10s");
    }

    #[test]
    fn the_columns_are_aligned() {
        let list = with(&[]).list("runtime", &[(Annotation::Function, &SPEC)]);
        let rows: Vec<&str> = list.lines().filter(|line| line.starts_with(' ')).collect();
        let column = rows[0].find("default").unwrap();
        for row in &rows {
            let (before, origin) = row.split_at(column);
            assert!(before.ends_with("  ") && !origin.starts_with(' '), "{row}");
        }
    }

    #[test]
    fn every_variable_has_a_line() {
        let list = with(&[]).list("runtime", &[(Annotation::Function, &SPEC)]);
        for (variable, _) in VARIABLES {
            let setting = variable.trim_start_matches("RETRY_").to_lowercase();
            if setting != "config" {
                line(&list, &setting);
            }
        }
    }

    #[test]
    fn a_retry_policy_is_shown_by_its_delays() {
        let second = Duration::from_secs(1);
        for (policy, text) in [
            (Retries::none(), "0"),
            (Retries::fixed(1, second), "1, after 1s"),
            (Retries::fixed(3, second), "3, after 1s"),
            (Retries::exponential(2), "2, after 1s to 2s"),
            (
                Retries::exponential(9).jitter(),
                "9, after 1s to 1m, with jitter",
            ),
        ] {
            assert_eq!(retries(&policy), text);
        }
    }
}
