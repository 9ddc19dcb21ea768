//! Kamailio, as Debian packages it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Product, Setup, run};
use crate::failure::Failure;
use crate::machine::{Machine, repository};
use crate::system;

/// Where Debian puts it, which is not in everybody's `PATH`.
const PROGRAM: &str = "/usr/sbin/kamailio";
/// Where Debian puts the definitions of its tables.
const TABLES: &str = "/usr/share/kamailio/db_sqlite";
/// What the scenarios need.
const PACKAGES: [&str; 3] = ["kamailio", "kamailio-sqlite-modules", "sqlite3"];
/// Shared memory, enough for a million contacts.
const SHARED_MIB: u32 = 2048;
/// Memory of each process.
const PRIVATE_MIB: u32 = 16;

/// Finds Kamailio, and installs it when that is possible. Says what it does, and why it does nothing.
pub(crate) fn is_there() -> bool {
    let there = || Path::new(PROGRAM).is_file() && Path::new(TABLES).is_dir();
    if there() {
        return true;
    }
    let packages = PACKAGES.join(" ");
    if !Path::new("/usr/bin/apt-get").is_file() || !system::is_root() {
        eprintln!(
            "Kamailio is not there, so Patchbay is measured alone. On Debian, as root: apt-get install {packages}"
        );
        return false;
    }
    eprintln!("installing {packages}");
    let installed = install().or_else(|_| {
        run(apt().args(["update", "-q"]))?;
        install()
    });
    if let Err(failure) = installed {
        eprintln!("Kamailio can't be installed, so Patchbay is measured alone: {failure}");
    }
    there()
}

fn install() -> Result<(), Failure> {
    run(apt()
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(PACKAGES))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The command line, and the tables when they are needed and not there.
///
/// `-x fm -X fm`: with the allocator that the package has by default it is three times slower, and everybody else would look good.
pub(super) fn command(_: &Machine, folder: &Path, setup: &Setup) -> Result<Vec<String>, Failure> {
    let address = Product::Kamailio.address();
    let mut words: Vec<String> = [PROGRAM, "-DD", "-E", "-x", "fm", "-X", "fm"]
        .map(str::to_owned)
        .to_vec();
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option(
        "-f",
        shown(&repository().join("benches/side-by-side/kamailio.cfg")),
    );
    option("-m", SHARED_MIB.to_string());
    option("-M", PRIVATE_MIB.to_string());
    option("-n", (4 * setup.workers).to_string());
    option("-l", format!("udp:{address}"));
    option("-P", shown(&folder.join("pid")));
    option("-Y", shown(folder));
    option("-w", shown(folder));
    if setup.tcp {
        option("-l", format!("tcp:{address}"));
        option("-N", (2 * setup.workers).to_string());
    }
    if setup.stored {
        let store = folder.join("location.sqlite");
        if !store.is_file() {
            make_tables(&store)?;
        }
        option("-A", "STORED".to_owned());
        option("-A", format!("STORE=\"sqlite:///{}\"", shown(&store)));
    }
    if !setup.tcp {
        words.push("-T".to_owned());
    }
    Ok(words)
}

fn make_tables(store: &Path) -> Result<(), Failure> {
    for name in ["standard-create.sql", "usrloc-create.sql"] {
        let script: PathBuf = Path::new(TABLES).join(name);
        run(Command::new("sqlite3")
            .arg(store)
            .arg(format!(".read {}", shown(&script))))?;
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
