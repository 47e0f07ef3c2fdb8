//! Processes and files of tests, which must leave nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Ends a process of ours as a person would, so that it removes its temporary folder; kills it if that does not help.
pub fn end(child: &mut Child) {
    for _ in 0..2 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("/bin/kill").args(["-TERM", &child.id().to_string()]).status();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A folder for files that tests of this process share and that nothing drops. Those of ended processes are removed.
pub fn shared_folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        const PREFIX: &str = "shared-";
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in std::fs::read_dir(all).unwrap().map_while(Result::ok) {
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(process) = name.strip_prefix(PREFIX).filter(|id| !Path::new("/proc").join(id).exists()) {
                let _ = std::fs::remove_dir_all(all.join(format!("{PREFIX}{process}")));
            }
        }
        let folder = all.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    &FOLDER
}
