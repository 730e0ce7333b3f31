//! A virtual screen, which tests look at and press keys on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use repaint::frame::Frame;
use repaint::media::picture;
use repaint::output::Existing;

/// Size of the virtual screen.
pub const SCREEN: (usize, usize) = (800, 600);

/// A virtual screen without a window manager.
pub struct Screen {
    server: Child,
    pub display: String,
}

impl Screen {
    /// Starts one; `None` where its programs are missing, unless `CI` is set.
    pub fn start() -> Option<Self> {
        for program in ["Xvfb", "xdotool", "ffmpeg"] {
            if Command::new(program).arg("-help").output().is_err() {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "{program} is missing and CI is set"
                );
                println!("skipped: {program} is missing");
                return None;
            }
        }
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{}x{}x24", SCREEN.0, SCREEN.1))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut number = String::new();
        let stdout = server.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut number)
            .expect("its display");
        let display = format!(":{}", number.trim());
        Some(Self { server, display })
    }

    pub fn xdotool(&self, args: &[&str]) -> String {
        let output = Command::new("xdotool")
            .args(args)
            .env("DISPLAY", &self.display)
            .output()
            .expect("xdotool runs");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    pub fn press(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    fn picture(&self, folder: &Path) -> Frame {
        let path = folder.join("screen.png");
        let size = format!("{}x{}", SCREEN.0, SCREEN.1);
        let grabbed = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-y",
                "-f",
                "x11grab",
                "-draw_mouse",
                "0",
                "-video_size",
                &size,
            ])
            .args(["-i", &self.display, "-frames:v", "1", "-update", "1"])
            .arg(&path)
            .status()
            .expect("ffmpeg runs");
        assert!(grabbed.success());
        picture::read(&path).expect("a screenshot")
    }

    /// Waits until the screenshot is as `wanted` says, and fails with `what` after half a minute.
    #[track_caller]
    pub fn wait_for(&self, folder: &Path, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let start = Instant::now();
        loop {
            let shot = self.picture(folder);
            if wanted(&shot) {
                return shot;
            }
            if start.elapsed() > Duration::from_secs(30) {
                let kept = std::env::temp_dir().join("repaint-webcam-test.png");
                let _ = picture::write(&kept, &shot, Existing::Overwrite);
                panic!("the window does not show {what}; see {}", kept.display());
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
