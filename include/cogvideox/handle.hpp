/// The owner of a C object, which the classes are derived from. Part of cogvideox.hpp.
#ifndef COGVIDEOX_HANDLE_HPP
#define COGVIDEOX_HANDLE_HPP

#include "callbacks.hpp"
#include "text.hpp"

#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

namespace detail {
/// Fails if an object is empty that is passed as an argument.
template <class Argument> Result<void> require(const Argument &argument);
} // namespace detail

/// Owns an object of the C library and frees it. Self is the class derived from it, Object the
/// C type, Free its _free function. It can be moved and not copied; the object that was moved
/// from is empty.
template <class Self, class Object, void (*Free)(Object *)> class Handle {
public:
    /// Takes the object over; the other one is empty afterwards.
    Handle(Handle &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}

    /// Frees its own object and takes the other one's over, which is empty afterwards.
    Handle &operator=(Handle &&other) noexcept {
        if (this != &other) {
            reset(other.release());
        }
        return *this;
    }

    /// Frees the object.
    ~Handle() { Free(object_); }

    /// Whether there is an object.
    explicit operator bool() const noexcept { return object_ != nullptr; }

    /// The C handle, for C functions; NULL if it is empty. It still belongs to this object.
    Object *get() const noexcept { return object_; }

    /// Hands the C handle out and is empty afterwards; the caller frees it.
    [[nodiscard]] Object *release() noexcept { return std::exchange(object_, nullptr); }

    /// Frees the object now, and takes over another one or none.
    void reset(Object *object = nullptr) noexcept { Free(std::exchange(object_, object)); }

    /// Takes over a C handle, to free it; NULL makes an empty object.
    static Self adopt(Object *object) noexcept {
        Self self{Empty{}};
        self.reset(object);
        return self;
    }

protected:
    /// Chooses the constructor that makes no object.
    struct Empty {};

    explicit Handle(Object *object) noexcept : object_(object) {}

    /// The error of a use of an empty object.
    static Error empty_error() {
        return Error(Code::null_argument,
                     std::string(Self::class_name) +
                         " is empty: it was moved from, released, reset or never made");
    }

    /// The answer of a C function that takes this object first and returns an error.
    template <class Function, class... Arguments>
    Result<void> call(Function function, Arguments... arguments) const {
        if (object_ == nullptr) {
            return empty_error();
        }
        if (cvx_error *error = function(object_, arguments...)) {
            return Error(error);
        }
        return {};
    }

    /// The same for a function that takes one text more; what names it in errors.
    template <class Function>
    Result<void> call_with_text(Function function, const char *what, const Text &text) const {
        if (auto whole = text.check(what); !whole) {
            return whole;
        }
        return call(function, text.c_str());
    }

    /// The same for a setter of a callback: the callable is moved to the heap, where the library
    /// owns it, and native is called with it. before are the setter's arguments before them.
    template <class Setter, class Native, class Callback, class... Arguments>
    Result<void> call_with_callback(Setter setter, Native native, Callback &&callback,
                                    Arguments... before) const {
        using Function = std::decay_t<Callback>;
        if (object_ == nullptr) {
            return empty_error();
        }
        Function *function = new (std::nothrow) Function(std::forward<Callback>(callback));
        if (function == nullptr) {
            return Error(Code::out_of_memory, "no memory for a callback");
        }
        return call(setter, before..., native, static_cast<void *>(function),
                    detail::free_function<Function>);
    }

private:
    template <class Argument> friend Result<void> detail::require(const Argument &argument);

    Object *object_ = nullptr;
};

namespace detail {
template <class Argument> Result<void> require(const Argument &argument) {
    if (!argument) {
        return Argument::empty_error();
    }
    return {};
}
} // namespace detail

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_HANDLE_HPP
