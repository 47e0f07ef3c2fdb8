//! The scripts that run in Redis. Each touches one key, and is addressed by its content, so that two versions of this
//! program work beside each other.

use std::sync::LazyLock;

use redis::{Cmd, Script};
use strum::VariantArray as _;

/// A script, or another command that the metrics tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Command {
    Ask,
    Land,
    Book,
    Unbook,
    Bill,
    Hold,
    Rate,
    Extra,
    Reserve,
    Totals,
    TryName,
    Client,
    Forget,
    Decide,
    /// What replicas say of themselves, or have decided.
    Few,
    /// All that must be granted before a call, in one pipeline.
    Admit,
    Nonce,
    Beat,
    Numbers,
    Publish,
}

const PRELUDE: &str = include_str!("lua/prelude.lua");

static SCRIPTS: LazyLock<Vec<Option<Script>>> = LazyLock::new(|| {
    let of = |command: &Command| Some(Script::new(&source(body(*command)?)));
    Command::VARIANTS.iter().map(of).collect()
});

impl Command {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it is a matter of a few milliseconds when it comes.
    pub(super) const fn can_wait(self) -> bool {
        matches!(self, Self::Bill | Self::Numbers)
    }

    /// A call of this script on `key`; arguments follow.
    pub(super) fn on(self, key: &[u8]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(self.hash()).arg(1).arg(key);
        cmd
    }

    fn hash(self) -> &'static str {
        SCRIPTS.get(self as usize).and_then(Option::as_ref).map_or("", Script::get_hash)
    }
}

/// The sources of all scripts, to be loaded.
pub(super) fn sources() -> impl Iterator<Item = String> {
    Command::VARIANTS.iter().filter_map(|command| body(*command)).map(source)
}

fn source(body: &str) -> String {
    format!("{PRELUDE}{body}")
}

const fn body(command: Command) -> Option<&'static str> {
    Some(match command {
        Command::Ask => include_str!("lua/ask.lua"),
        Command::Land => include_str!("lua/land.lua"),
        Command::Book => include_str!("lua/book.lua"),
        Command::Unbook => include_str!("lua/unbook.lua"),
        Command::Bill => include_str!("lua/bill.lua"),
        Command::Hold => include_str!("lua/hold.lua"),
        Command::Rate => include_str!("lua/rate.lua"),
        Command::Extra => include_str!("lua/extra.lua"),
        Command::Reserve => include_str!("lua/reserve.lua"),
        Command::Totals => include_str!("lua/totals.lua"),
        Command::TryName => include_str!("lua/try_name.lua"),
        Command::Client => include_str!("lua/client.lua"),
        Command::Forget => include_str!("lua/forget.lua"),
        Command::Decide => include_str!("lua/decide.lua"),
        Command::Few => include_str!("lua/few.lua"),
        Command::Admit | Command::Nonce | Command::Beat | Command::Numbers | Command::Publish => return None,
    })
}
