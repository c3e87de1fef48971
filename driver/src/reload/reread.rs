//! A reader of files whose reading needs it whole, such as the configuration of a program.

use super::{LoadError, Reload, Stamp};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whatever reads its files again through `&mut`, as a [`Reload`].
pub struct Reread<T> {
    reader: Mutex<T>,
    /// What the files looked like when they were read last, or refused.
    loaded: Mutex<Stamp>,
    files: fn(&T) -> &[PathBuf],
    read: fn(&mut T) -> Result<(), String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send> Reread<T> {
    /// `reader` has read its `files` once; `read` does so again, and tells in one line why it cannot. Which ones they are
    /// may change with every reading.
    pub fn new(reader: T, files: fn(&T) -> &[PathBuf], read: fn(&mut T) -> Result<(), String>) -> Self {
        let loaded = Mutex::new(look(files(&reader)));
        Self { reader: Mutex::new(reader), loaded, files, read }
    }

    /// Whether there is anything to read again so far.
    pub fn has_files(&self) -> bool {
        !lock(&self.loaded).is_empty()
    }
}

fn look(files: &[PathBuf]) -> Stamp {
    Stamp::of(files.iter().map(PathBuf::as_path))
}

impl<T: Send> Reload for Reread<T> {
    fn stamp(&self) -> Stamp {
        look((self.files)(&lock(&self.reader)))
    }

    fn loaded(&self) -> Stamp {
        lock(&self.loaded).clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        let mut reader = lock(&self.reader);
        // What changes from here on is another change.
        let before = look((self.files)(&reader));
        *lock(&self.loaded) = before;
        (self.read)(&mut reader).map_err(LoadError::new)
    }
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files are read from the second reading on.
    struct Growing(Vec<PathBuf>);

    /// As `cp --preserve` and some backups leave it.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_written_in_place_and_has_its_old_time_back_is_another() {
        let file = std::env::temp_dir().join(format!("piko-in-place-{}", std::process::id()));
        std::fs::write(&file, "one").expect("a file of our own");
        let written = std::fs::metadata(&file).and_then(|meta| meta.modified()).expect("it is there");
        let before = Stamp::of([file.as_path()]);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // A file system's clock stands still for some milliseconds; what is written within them looks the same.
        while Stamp::of([file.as_path()]) == before {
            assert!(std::time::Instant::now() < until, "it never looked new");
            std::fs::write(&file, "two").expect("it is there");
            let opened = std::fs::File::options().write(true).open(&file).expect("it is there");
            opened.set_modified(written).expect("it is ours");
        }
        std::fs::remove_file(&file).expect("it is there");
    }

    #[test]
    fn what_was_refused_counts_as_read_and_files_may_grow() {
        let folder = std::env::temp_dir().join(format!("piko-reread-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        let (one, two) = (folder.join("one"), folder.join("two"));
        std::fs::write(&one, "1").expect("the folder is there");
        let files = Reread::new(
            Growing(vec![one.clone()]),
            |reader| &reader.0,
            |reader| {
                let text = std::fs::read_to_string(&reader.0[0]).map_err(|error| error.to_string())?;
                reader.0.push(reader.0[0].with_file_name("two"));
                if text == "bad" { Err("no good".to_owned()) } else { Ok(()) }
            },
        );
        assert!(files.has_files());
        assert_eq!(files.loaded(), files.stamp());

        std::fs::write(&one, "bad").expect("the folder is there");
        assert_ne!(files.loaded(), files.stamp());
        assert_eq!(files.reload(), Err(LoadError::new("no good")));
        // Of the second file nothing was read: whoever looks for changes sees that it is new.
        std::fs::write(&two, "2").expect("the folder is there");
        assert_ne!(files.loaded(), files.stamp());
        assert_eq!(files.loaded(), Stamp::of([one.as_path()]));

        std::fs::remove_dir_all(&folder).expect("the folder is there");
        let none = Reread::new(Growing(Vec::new()), |reader| &reader.0, |_| Ok(()));
        assert!(!none.has_files());
    }
}
