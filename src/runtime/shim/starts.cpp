// Threads that libgomp starts, which ends the process where the system refuses one.
//
// A stand-in for libgomp's entry of pthread_create passes on what succeeds, and what other threads
// than those that announced themselves ask for. To those that did, the system's refusal is not told
// at once: they get one of the threads that were started for them beforehand, and once there are none left
// it is asked again for some seconds, since a team that shrank and grows again has just given back
// what it asks for.
#include "shim.h"
#include "stand_in.h"

#include <pthread.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <new>

namespace {

// Asked again so often, with a millisecond between.
constexpr int kPatience = 5000;

using Start = void *(*)(void *);

struct Waiting {
  pthread_t thread;
  Start start;
  void *data;
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

}  // namespace

// What a thread that announced itself has. All under `lock`.
struct cvx_shim_starts {
  pthread_t owner;
  cvx_shim_starts *next;
  Waiting *threads;
  int32_t count;
  // Of them, those that were given work, from the first on, and those that have begun it.
  int32_t taken;
  int32_t begun;
  // Those without work may end.
  bool over;
};

namespace {

cvx_shim_starts *first = nullptr;

struct Place {
  cvx_shim_starts *starts;
  Waiting *waiting;
};

void *wait(void *data) {
  const Place place = *static_cast<Place *>(data);
  pthread_mutex_lock(&lock);
  // The place is on the stack of the thread that starts them, one after the other.
  static_cast<Place *>(data)->waiting = nullptr;
  pthread_cond_broadcast(&changed);
  while (place.waiting->start == nullptr && !place.starts->over) {
    pthread_cond_wait(&changed, &lock);
  }
  const Waiting work = *place.waiting;
  if (work.start != nullptr) {
    ++place.starts->begun;
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return work.start != nullptr ? work.start(work.data) : nullptr;
}

cvx_shim_starts *mine() {
  for (cvx_shim_starts *starts = first; starts != nullptr; starts = starts->next) {
    if (pthread_equal(starts->owner, pthread_self())) return starts;
  }
  return nullptr;
}

// 1: one that was started beforehand has it to do. 0: none is left. -1: this thread did not announce itself.
int hand_over(pthread_t *thread, Start start, void *data) {
  pthread_mutex_lock(&lock);
  cvx_shim_starts *starts = mine();
  int handed = starts == nullptr ? -1 : 0;
  if (starts != nullptr && starts->taken < starts->count) {
    Waiting &waiting = starts->threads[starts->taken++];
    waiting.data = data;
    waiting.start = start;
    *thread = waiting.thread;
    // Nobody waits for it any more, as for libgomp's own.
    pthread_detach(waiting.thread);
    pthread_cond_broadcast(&changed);
    handed = 1;
  }
  pthread_mutex_unlock(&lock);
  return handed;
}

int stand_in_pthread_create(pthread_t *thread, const pthread_attr_t *with, Start start,
                            void *data) {
  int failed = pthread_create(thread, with, start, data);
  for (int i = 0; failed == EAGAIN && i < kPatience; ++i) {
    const int handed = hand_over(thread, start, data);
    if (handed == 1) return 0;
    if (handed == -1) break;
    const timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, nullptr);
    failed = pthread_create(thread, with, start, data);
  }
  return failed;
}

const cvx::StandIn kStandIns[] = {{"pthread_create", cvx::address(stand_in_pthread_create)}};

}  // namespace

extern "C" {

int32_t cvx_shim_starts_install(void *inside) {
  static const int replaced = cvx::stand_in(inside, kStandIns, 1, cvx::Closed::kOpen);
  return replaced;
}

cvx_shim_starts *cvx_shim_starts_begin(int32_t count) {
  auto *starts = new (std::nothrow) cvx_shim_starts{};
  auto *threads = count > 0 ? new (std::nothrow) Waiting[static_cast<size_t>(count)]() : nullptr;
  if (starts == nullptr || (count > 0 && threads == nullptr)) {
    delete starts;
    delete[] threads;
    return nullptr;
  }
  starts->owner = pthread_self();
  starts->threads = threads;
  pthread_mutex_lock(&lock);
  while (starts->count < count) {
    Place place = {starts, &threads[starts->count]};
    // With the attributes that libgomp gives its threads, whose stacks are the default's.
    if (pthread_create(&place.waiting->thread, nullptr, wait, &place) != 0) break;
    while (place.waiting != nullptr) pthread_cond_wait(&changed, &lock);
    ++starts->count;
  }
  starts->next = first;
  first = starts;
  pthread_mutex_unlock(&lock);
  return starts;
}

int32_t cvx_shim_starts_count(const cvx_shim_starts *starts) { return starts->count; }

void cvx_shim_starts_release(cvx_shim_starts *starts) {
  pthread_mutex_lock(&lock);
  starts->over = true;
  const int32_t taken = starts->taken;
  // None is given work from here on.
  starts->taken = starts->count;
  pthread_cond_broadcast(&changed);
  while (starts->begun < taken) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  for (int32_t i = taken; i < starts->count; ++i) pthread_join(starts->threads[i].thread, nullptr);
  starts->count = starts->taken = starts->begun = 0;
}

void cvx_shim_starts_end(cvx_shim_starts *starts) {
  cvx_shim_starts_release(starts);
  pthread_mutex_lock(&lock);
  cvx_shim_starts **at = &first;
  while (*at != starts) at = &(*at)->next;
  *at = starts->next;
  pthread_mutex_unlock(&lock);
  delete[] starts->threads;
  delete starts;
}

}  // extern "C"
