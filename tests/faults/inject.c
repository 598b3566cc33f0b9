// Failures to order: preloaded into a test's process, this stands before the functions by which
// libraries ask for memory, files and threads, and lets one of them fail when it is told to.
// tests/faults.rs is its only user.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

// As `Kind` in tests/faults.rs.
enum { MEMORY, MAP, OPEN, READ, WRITE, SYNC, THREAD, OWN };

static atomic_int armed = -1;
static atomic_long seen;
static atomic_long nth;
static atomic_int lasting;
static atomic_size_t least;
static atomic_long failed;
// Where the program's own code lies, this library's and libtorch's left out.
static uintptr_t program, program_end;
static uintptr_t note;

static int find_program(struct dl_phdr_info *object, size_t size, void *data) {
  (void)size, (void)data;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    program = object->dlpi_addr + part->p_vaddr;
    program_end = program + part->p_memsz;
  }
  return 1;  // The first object is the program.
}

// From now on counts the calls of `kind` that are for at least `size` bytes, and lets the `n`th
// fail; those that follow it too where `all`. `n` 0 only counts.
void faults_arm(int kind, long n, int all, size_t size) {
  if (program == 0) dl_iterate_phdr(find_program, NULL);
  if (note == 0) note = (uintptr_t)dlsym(RTLD_DEFAULT, "__cxa_thread_atexit_impl");
  seen = 0;
  failed = 0;
  nth = n;
  lasting = all;
  least = size;
  armed = kind;
}

// Lets everything work again. Returns how many calls there were.
long faults_disarm(void) {
  armed = -1;
  return seen;
}

// How many calls have failed since the last faults_arm.
long faults_failed(void) { return failed; }

static int fails(int kind, size_t size, int error) {
  if (armed != kind || size < least) return 0;
  const long number = atomic_fetch_add(&seen, 1) + 1;
  if (nth == 0 || number < nth || (number > nth && !lasting)) return 0;
  atomic_fetch_add(&failed, 1);
  errno = error;
  return 1;
}

// Whether the C library is about to note what a thread has to destroy when it ends, where it has no
// other answer to a failure than the end of the process.
static int is_note_of_destructor(const void *caller) {
  return (uintptr_t)caller - note < 512;
}

// Memory that the code at `caller` asks for.
static int memory_fails(size_t size, const void *caller) {
  if (armed >= 0 && is_note_of_destructor(caller)) return 0;
  if (armed != OWN) return fails(MEMORY, size, ENOMEM);
  const uintptr_t at = (uintptr_t)caller;
  return at >= program && at < program_end && fails(OWN, size, ENOMEM);
}

#define CALLER __builtin_return_address(0)

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { return memory_fails(size, CALLER) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
  return memory_fails(count * size, CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  return size != 0 && memory_fails(size, CALLER) ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  return memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  return memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  void *made = memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
  if (made == NULL) return ENOMEM;
  *out = made;
  return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  if (fails(MAP, length, ENOMEM)) return MAP_FAILED;
  return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  return mmap(address, length, protection, flags, file, offset);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
  if (fails(OPEN, 1, EMFILE)) return -1;
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(flags, last)                                  \
  mode_t mode = 0;                                         \
  if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list list;                                          \
    va_start(list, last);                                  \
    mode = va_arg(list, mode_t);                           \
    va_end(list);                                          \
  }

int open(const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_at(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  MODE(flags, flags)
  return open_at(folder, path, flags, mode);
}

ssize_t read(int file, void *to, size_t size) {
  return fails(READ, 1, EIO) ? -1 : syscall(SYS_read, file, to, size);
}

ssize_t pread(int file, void *to, size_t size, off_t at) {
  return fails(READ, 1, EIO) ? -1 : syscall(SYS_pread64, file, to, size, at);
}

ssize_t pread64(int file, void *to, size_t size, off64_t at) { return pread(file, to, size, at); }

ssize_t write(int file, const void *from, size_t size) {
  return fails(WRITE, 1, ENOSPC) ? -1 : syscall(SYS_write, file, from, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  return fails(WRITE, 1, ENOSPC) ? -1 : syscall(SYS_writev, file, parts, count);
}

int fsync(int file) { return fails(SYNC, 1, EIO) ? -1 : (int)syscall(SYS_fsync, file); }

int fdatasync(int file) { return fails(SYNC, 1, EIO) ? -1 : (int)syscall(SYS_fdatasync, file); }

int pthread_create(pthread_t *thread, const pthread_attr_t *with, void *(*start)(void *),
                   void *data) {
  typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  static create *_Atomic real;
  if (fails(THREAD, 1, EAGAIN)) return EAGAIN;
  if (real == NULL) real = (create *)dlsym(RTLD_NEXT, "pthread_create");
  return real(thread, with, start, data);
}
