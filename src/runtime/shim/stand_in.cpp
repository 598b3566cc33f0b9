#include "stand_in.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace {

struct Search {
  uintptr_t base;
  const cvx::StandIn *functions;
  size_t count;
  cvx::Closed closed;
  int replaced;
};

void *stand_in_of(const Search &search, const char *name) {
  for (size_t i = 0; i < search.count; ++i) {
    if (std::strcmp(search.functions[i].name, name) == 0) return search.functions[i].function;
  }
  return nullptr;
}

// Another thread may be on its way through the entry, which it reads in one piece.
void store(uintptr_t entry, void *function) {
  __atomic_store_n(reinterpret_cast<void **>(entry), function, __ATOMIC_RELEASE);
}

// The same where only reading is allowed, as it is again afterwards.
bool store_in_closed(uintptr_t entry, void *function) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  void *const start = reinterpret_cast<void *>(entry / page * page);
  if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
  store(entry, function);
  mprotect(start, page, PROT_READ);
  return true;
}

// Replaces the entries of one object's table of functions of other objects. ld.so fills it as functions
// are first called, or all of it at once and closes it then.
int replace(const dl_phdr_info &object, const Search &search) {
#if defined(__x86_64__) && defined(__LP64__)
  constexpr unsigned kEntry = R_X86_64_JUMP_SLOT;
#elif defined(__aarch64__) && defined(__LP64__)
  constexpr unsigned kEntry = R_AARCH64_JUMP_SLOT;
#else
  return 0;
#endif
  const ElfW(Dyn) *dynamic = nullptr;
  uintptr_t closed = 0, closed_end = 0;
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr) &part = object.dlpi_phdr[i];
    const uintptr_t at = object.dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn) *>(at);
    if (part.p_type == PT_GNU_RELRO) closed = at, closed_end = at + part.p_memsz;
  }
  if (dynamic == nullptr) return 0;
  const ElfW(Sym) *symbols = nullptr;
  const char *names = nullptr;
  const ElfW(Rela) *entries = nullptr;
  size_t size = 0;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    // ld.so has made addresses of them.
    const uintptr_t at = dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
      case DT_SYMTAB: symbols = reinterpret_cast<const ElfW(Sym) *>(at); break;
      case DT_STRTAB: names = reinterpret_cast<const char *>(at); break;
      case DT_JMPREL: entries = reinterpret_cast<const ElfW(Rela) *>(at); break;
      case DT_PLTRELSZ: size = dynamic->d_un.d_val; break;
      case DT_PLTREL:
        if (dynamic->d_un.d_val != DT_RELA) return 0;
        break;
      default: break;
    }
  }
  if (symbols == nullptr || names == nullptr || entries == nullptr) return 0;
  int replaced = 0;
  for (size_t i = 0; i < size / sizeof(ElfW(Rela)); ++i) {
    const ElfW(Rela) &entry = entries[i];
    if (ELF64_R_TYPE(entry.r_info) != kEntry) continue;
    void *function = stand_in_of(search, names + symbols[ELF64_R_SYM(entry.r_info)].st_name);
    if (function == nullptr) continue;
    const uintptr_t at = object.dlpi_addr + entry.r_offset;
    if (at < closed || at >= closed_end) {
      store(at, function);
    } else if (search.closed == cvx::Closed::kLeave || !store_in_closed(at, function)) {
      continue;
    }
    ++replaced;
  }
  return replaced;
}

int visit(dl_phdr_info *object, size_t, void *data) {
  Search &search = *static_cast<Search *>(data);
  if (object->dlpi_addr != search.base) return 0;
  search.replaced = replace(*object, search);
  return 1;
}

uintptr_t object_of(void *inside) {
  Dl_info info;
  return dladdr(inside, &info) == 0 ? 0 : reinterpret_cast<uintptr_t>(info.dli_fbase);
}

}  // namespace

namespace cvx {

int stand_in(void *inside, const StandIn *functions, size_t count, Closed closed) {
  Search search = {object_of(inside), functions, count, closed, 0};
  if (search.base == 0 || search.base == object_of(address(stand_in))) return 0;
  dl_iterate_phdr(visit, &search);
  return search.replaced;
}

}  // namespace cvx
