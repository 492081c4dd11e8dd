//! What is set when the service starts.

use std::path::PathBuf;
use std::time::Duration;

pub const OPTIONS: &str = "
  --port NUMBER        of the service; 0 for any free one (8700)
  --data FOLDER        for the database and the saved cache (async-service-data)
  --fresh MS           a value is fresh for so long (5000)
  --fail-safe MS       an old value is served for so long if the database does not answer (600000)
  --soft-timeout MS    nobody who can have an old value waits longer for a new one (20)
  --patience MS        a database that is silent for so long is down (1000)
  --token TEXT         whoever knows it may open /coeval; without it, only this machine may";

#[derive(Clone)]
pub struct Settings {
    pub port: u16,
    pub folder: PathBuf,
    pub fresh: Duration,
    pub fail_safe: Duration,
    pub soft_timeout: Duration,
    pub patience: Duration,
    pub token: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 8700,
            folder: "async-service-data".into(),
            fresh: Duration::from_secs(5),
            fail_safe: Duration::from_secs(600),
            soft_timeout: Duration::from_millis(20),
            patience: Duration::from_secs(1),
            token: None,
        }
    }
}

impl Settings {
    /// Reads pairs of an option and its value.
    pub fn parse(options: &[&str]) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut left = options.iter();
        while let Some(option) = left.next() {
            let value = left.next().ok_or_else(|| format!("{option} has no value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{option} takes a number"));
            let time = || number().map(Duration::from_millis);
            match *option {
                "--port" => {
                    settings.port =
                        value.parse().map_err(|_| "--port takes a number up to 65535")?;
                }
                "--data" => settings.folder = value.into(),
                "--fresh" => settings.fresh = time()?,
                "--fail-safe" => settings.fail_safe = time()?,
                "--soft-timeout" => settings.soft_timeout = time()?,
                "--patience" => settings.patience = time()?,
                "--token" => settings.token = Some(value.to_string()),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(settings)
    }

    /// The options that make these settings.
    pub fn to_options(&self) -> Vec<String> {
        let ms = |time: Duration| time.as_millis().to_string();
        let mut options = vec![
            ("--port", self.port.to_string()),
            ("--data", self.folder.display().to_string()),
            ("--fresh", ms(self.fresh)),
            ("--fail-safe", ms(self.fail_safe)),
            ("--soft-timeout", ms(self.soft_timeout)),
            ("--patience", ms(self.patience)),
        ];
        options.extend(self.token.clone().map(|token| ("--token", token)));
        options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }
}
