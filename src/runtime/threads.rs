//! How many threads the work of one thread is shared among.
//!
//! libtorch's `set_num_threads` is for the whole process, which is the host's. OpenMP and MKL have a
//! setting for the calling thread beside it, which is what work is begun with.

use super::openmp::{self, Functions, Started};
use super::waiting::Watching;
use crate::{Error, Result};
use std::ffi::c_int;
use std::marker::PhantomData;

extern "C" {
    fn cvx_shim_init_num_threads();
}

/// Until it is dropped, what this thread computes is shared among another number of threads.
pub struct Threads {
    before: Option<(Functions, c_int, c_int)>,
    _watching: Option<Watching>,
    _started: Option<Started>,
    // The setting is this thread's.
    _not_send: PhantomData<*const ()>,
}

impl Threads {
    /// `count` threads; 0 leaves it as it is, or takes fewer where there are no more to be had. A
    /// libtorch without OpenMP leaves it as it is, too.
    ///
    /// Errors: [`Error::OutOfMemory`] where `count` threads can't be started, or memory is out.
    pub fn limit(count: i32) -> Result<Threads> {
        let _spare = openmp::hold()?;
        // libtorch gives a thread the process's number once, at its first question.
        tch::get_num_threads();
        // The same is kept apart for the kernels that are compiled into this library.
        // SAFETY: without preconditions.
        unsafe { cvx_shim_init_num_threads() };
        let Some(functions) = openmp::functions() else {
            return Ok(Threads {
                before: None,
                _watching: None,
                _started: None,
                _not_send: PhantomData,
            });
        };
        // SAFETY: a plain number.
        let wanted = if count > 0 { count } else { unsafe { (functions.get)() } };
        let started = openmp::start(wanted)?;
        let found = started.count;
        if count > 0 && found < count {
            return Err(Error::OutOfMemory(format!(
                "num_threads: expected {count} threads, but the system lets only {found} be \
                 started"
            )));
        }
        let change = count > 0 || found < wanted;
        let before = change.then(|| {
            // SAFETY: plain numbers, and settings of this thread alone.
            unsafe {
                let threads = (functions.get)();
                (functions.set)(found);
                (functions, threads, functions.mkl.map_or(0, |set| set(found)))
            }
        });
        let _watching = Watching::over(found);
        Ok(Threads { before, _watching, _started: Some(started), _not_send: PhantomData })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some((functions, threads, mkl)) = self.before.take() else { return };
        // SAFETY: as in `limit`.
        unsafe {
            (functions.set)(threads);
            functions.mkl.map(|set| set(mkl));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_this_threads_and_is_put_back() {
        std::thread::spawn(|| {
            let before = tch::get_num_threads();
            let other = || std::thread::spawn(tch::get_num_threads).join().unwrap();
            let others = other();
            {
                let _three = Threads::limit(3).unwrap();
                assert_eq!(tch::get_num_threads(), 3);
                assert_eq!(other(), others);
                {
                    let _as_it_is = Threads::limit(0).unwrap();
                    assert_eq!(tch::get_num_threads(), 3);
                    let _one = Threads::limit(1).unwrap();
                    assert_eq!(tch::get_num_threads(), 1);
                }
                assert_eq!(tch::get_num_threads(), 3);
            }
            assert_eq!(tch::get_num_threads(), before);
            assert_eq!(other(), others);
        })
        .join()
        .unwrap();
    }
}
