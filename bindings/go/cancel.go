package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"context"
	"errors"
)

// watch cancels a token of the library when a context ends.
type watch struct {
	ctx   context.Context
	token *C.cvx_cancel_token
	stop  func() bool
	fired chan struct{}
}

func newWatch(ctx context.Context) *watch {
	if ctx == nil {
		panic("cogvideox: nil context")
	}
	w := &watch{ctx: ctx, token: C.cvx_cancel_token_new(), fired: make(chan struct{})}
	if ctx.Err() != nil {
		// AfterFunc would cancel from another goroutine, maybe after a short run has ended.
		C.cvx_cancel_token_cancel(w.token)
		close(w.fired)
		w.stop = func() bool { return false }
		return w
	}
	w.stop = context.AfterFunc(ctx, func() {
		C.cvx_cancel_token_cancel(w.token)
		close(w.fired)
	})
	return w
}

// end stops watching and frees the token.
func (w *watch) end() {
	if !w.stop() {
		<-w.fired // the token is being cancelled, or was
	}
	C.cvx_cancel_token_free(w.token)
	w.token = nil
}

// cancelled says whether the context has cancelled the token.
func (w *watch) cancelled() bool { return C.cvx_cancel_token_is_cancelled(w.token) != 0 }

// explain adds to an error of cancelled work why it was: what a callback answered, or the
// context's error and cause.
func explain(err error, stopped error, ctx context.Context, cancelled bool) error {
	var e *Error
	if !errors.As(err, &e) || e.Code != ErrCancelled {
		return err
	}
	switch {
	case stopped != nil:
		e.causes = []error{stopped}
	case cancelled && ctx.Err() != nil:
		e.causes = []error{ctx.Err()}
		if cause := context.Cause(ctx); cause != ctx.Err() {
			e.causes = append(e.causes, cause)
		}
	}
	return err
}
