//! `rbuild login`.

use std::io::{IsTerminal, Read, Write};

use rbuild_registry::{Client, Credential, Options};

use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// The registry that is meant if none is named.
pub(crate) const DEFAULT: &str = "docker.io";

/// Log in to a registry
///
/// A token server on another site than the registry is not shown the credentials, unless the environment variable
/// RBUILD_TRUSTED_REALMS=REGISTRY=TOKENSERVER[,…] (hosts, with their ports if there are any) says so.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry (default: Docker Hub)
    server: Option<String>,
    /// User name
    #[arg(short, long)]
    username: Option<String>,
    /// Password or token; better given on standard input
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Returns the registry that a person means by a server's name or address.
pub(crate) fn registry(server: Option<&str>) -> String {
    let server = server.unwrap_or(DEFAULT);
    let bare = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    match bare {
        "index.docker.io/v1" | "index.docker.io" | "registry-1.docker.io" => DEFAULT.to_owned(),
        other => other.to_owned(),
    }
}

pub(crate) fn run(args: Args, world: &World) -> Result<(), Failure> {
    let registry = registry(args.server.as_deref());
    let username = match args.username {
        Some(username) => username,
        None if args.password_stdin => return Err(Failure::Usage("--password-stdin needs --username".to_owned())),
        None => ask("Username: ", true)?,
    };
    let password = match args.password {
        Some(password) => {
            ui::say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            password
        }
        None if args.password_stdin => read_all()?,
        None => ask("Password: ", false)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::User("username and password must not be empty".to_owned()));
    }
    let options = Options { credentials: world.docker_config(), ..world.registry_options().clone() };
    let client = Client::new(options).map_err(|error| Failure::User(chain(&error)))?;
    let credential = Credential::basic(username, password);
    let login = rbuild_registry::login(&client, &registry, &credential);
    world.runtime().block_on(login).map_err(|error| Failure::User(chain(&error)))?;
    ui::out("Login Succeeded\n")
}

fn read_all() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text).map_err(Failure::user)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal; a secret is not shown while it is typed.
fn ask(prompt: &str, shown: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = "cannot perform an interactive login from a non TTY device: use --username and --password-stdin";
        return Err(Failure::User(message.to_owned()));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let hidden = if shown { None } else { rbuild_sys::tty::hide_input(&stdin).ok() };
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(Failure::user)?;
    if hidden.is_some() {
        writeln!(stderr)?;
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
