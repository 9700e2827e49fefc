//! `repave completions` and `repave man`: what a package of repave holds beside the command itself.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, output};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder to write them to; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "repave", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}

pub(super) fn man(arguments: &Man) -> Result<(), Failure> {
    let folder = &arguments.folder;
    let failed = |what| move |source| Failure::File { what, path: folder.clone(), source };
    fs::create_dir_all(folder).map_err(failed("make folder"))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed("write man pages to"))
}
