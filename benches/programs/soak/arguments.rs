//! The command line.

use std::time::Duration;

pub const USAGE: &str = "\
usage: soak [--minutes N] [--seconds N] [--seed N] [--forks] [--no-faults] [--user UID]

  --minutes N, --seconds N   how long to make calls (default: 2 minutes)
  --seed N                   the seed of all random choices (default: the time)
  --forks                    fork the program and the workers as well
  --no-faults                kill, stop and starve nothing
  --user UID                 as root: run as this user, who must have no other processes;
                             RLIMIT_NPROC does not hold for root";

#[derive(Clone, Debug)]
pub struct Arguments {
    pub duration: Duration,
    pub seed: u64,
    pub forks: bool,
    pub faults: bool,
    pub user: Option<u32>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut arguments = Self {
            duration: Duration::from_secs(120),
            seed: time.map_or(1, |time| time.as_secs()),
            forks: false,
            faults: true,
            user: None,
        };
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or(format!("{word} needs a number"))?;
                let number = value.parse::<u64>();
                number.map_err(|_| format!("{word} needs a number, not {value:?}"))
            };
            match word.as_str() {
                "--minutes" => arguments.duration = Duration::from_secs(60 * number()?),
                "--seconds" => arguments.duration = Duration::from_secs(number()?),
                "--seed" => arguments.seed = number()?,
                "--user" => {
                    let user = u32::try_from(number()?).map_err(|error| error.to_string())?;
                    arguments.user = Some(user);
                }
                "--forks" => arguments.forks = true,
                "--no-faults" => arguments.faults = false,
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(arguments)
    }

    /// Returns the arguments that make the supervised process run with the same settings.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![
            "--seconds".to_owned(),
            self.duration.as_secs().to_string(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ];
        if self.forks {
            words.push("--forks".to_owned());
        }
        if !self.faults {
            words.push("--no-faults".to_owned());
        }
        words
    }
}
