//! Terminals: raw mode, size, pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, Winsize};

/// Returns rows and columns of a terminal.
pub fn size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok((size.ws_row, size.ws_col))
}

/// Tells a terminal its size; the processes on it get SIGWINCH.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// A terminal in raw mode; dropping it restores what was before.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Switches `terminal` to raw mode.
    pub fn enter(terminal: impl AsFd) -> io::Result<RawMode> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Stops a terminal from showing what is typed, until dropped: for passwords.
pub fn hide_input(terminal: impl AsFd) -> io::Result<RawMode> {
    let terminal = terminal.as_fd().try_clone_to_owned()?;
    let before = rustix::termios::tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    Ok(RawMode { terminal, before })
}

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that plays keyboard and screen.
    pub master: OwnedFd,
    /// The end programs run on.
    pub slave: OwnedFd,
}

/// Opens a pseudo-terminal of the devpts file system mounted at `devpts`.
pub fn open_pty(devpts: BorrowedFd<'_>) -> io::Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, c"ptmx", flags | OFlags::NOFOLLOW, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC,
    )?;
    Ok(Pty { master, slave })
}

/// Makes `terminal` the controlling terminal of the calling process, which must lead its session.
pub fn control(terminal: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_modes_of_a_pseudo_terminal() {
        let Ok(devpts) = rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
            eprintln!("skipped: there is no /dev/pts");
            return;
        };
        let pty = match open_pty(devpts.as_fd()) {
            Ok(pty) => pty,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        resize(&pty.master, 7, 33).unwrap();
        assert_eq!(size(&pty.slave).unwrap(), (7, 33));
        let before = format!("{:?}", rustix::termios::tcgetattr(&pty.slave).unwrap());
        let raw = RawMode::enter(&pty.slave).unwrap();
        assert_ne!(format!("{:?}", rustix::termios::tcgetattr(&pty.slave).unwrap()), before);
        drop(raw);
        assert_eq!(format!("{:?}", rustix::termios::tcgetattr(&pty.slave).unwrap()), before);
    }
}
