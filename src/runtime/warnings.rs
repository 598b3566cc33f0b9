//! libtorch's warnings go to the host's log. By default libtorch prints them to stderr, which
//! belongs to the host.

use super::shim::WarningScope;
use super::{Control, LogLevel};
use crate::Result;

/// Does `work` with the warnings that libtorch gives on this thread kept, and then logs them.
pub fn to_log<T>(control: &Control, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut scope = WarningScope::begin()?;
    let result = work();
    for warning in scope.take()? {
        control.log(LogLevel::Warning, format!("libtorch: {warning}"));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use tch::{Device, Kind, Tensor};

    fn zeros(size: i64) -> Tensor {
        Tensor::f_zeros([size], (Kind::Float, Device::Cpu)).unwrap()
    }

    #[test]
    fn warnings_reach_the_log_also_when_the_work_fails() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = {
            let lines = Arc::clone(&lines);
            Arc::new(move |level: LogLevel, text: &str| {
                lines.lock().push((level, text.to_string()))
            })
        };
        let control = Control { log: Some(log), ..Control::default() };
        let result: Result<()> = to_log(&control, || {
            // libtorch warns of a result tensor that it must resize, every time.
            let (a, out) = (zeros(2), zeros(1));
            let _ = a.f_add_out(&out, &a)?;
            Err(crate::Error::Internal("failed afterwards".into()))
        });
        assert!(result.is_err());
        let lines = lines.lock();
        let (level, text) = lines.first().unwrap();
        assert_eq!((lines.len(), *level), (1, LogLevel::Warning));
        assert!(text.starts_with("libtorch: ") && text.contains("resized"), "{text}");
    }
}
