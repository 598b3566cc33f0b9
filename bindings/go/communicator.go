package cogvideox

// #include <stdlib.h>
// #include "trampolines.h"
import "C"

import "unsafe"

// Exchange is what a process gives to others and takes from them, of ranks that follow one another.
// Its memory is the library's, and there during the call only.
type Exchange struct {
	// FirstRank is the first of the ranks that exchange: those from it on, and no others, make the
	// same call.
	FirstRank int
	// Send is what each of them is given: nothing for this rank itself, and where the other side
	// knows that there is nothing.
	Send [][]byte
	// Receive is where what each of them gives is written.
	Receive [][]byte
}

// Communicator is this process's end of what connects the processes that share the runs of a
// pipeline ([LoadOptions.Communicator]). All ranks call the same functions in the same order; what is
// not set is made of the first. An error of a function ends the run with [ErrCallbackFailed], a panic
// likewise. Abort may be called by any goroutine.
type Communicator struct {
	closer[*C.cvx_communicator]
}

// exchanger is the user_data of a function that exchanges.
type exchanger func(*Exchange) error

// aborter is that of a function which is told of a failure.
type aborter func(err *Error)

// NewCommunicator makes the end of rank, from 0, of ranks processes, from 2 to 1024. allToAll gives
// each rank its part and takes one from each.
//
// Errors: [ErrInvalidArgument].
func NewCommunicator(rank, ranks int, allToAll func(*Exchange) error) (*Communicator, error) {
	if err := abiCheck(); err != nil {
		return nil, err
	}
	r, err := toInt32("rank", rank)
	if err != nil {
		return nil, err
	}
	n, err := toInt32("ranks", ranks)
	if err != nil {
		return nil, err
	}
	var out *C.cvx_communicator
	if err := takeError(C.cvx_communicator_new(r, n, C.cogvideox_go_exchange,
		newUserData(exchanger(allToAll)), C.cogvideox_go_free, &out)); err != nil {
		return nil, err
	}
	return newCommunicator(out), nil
}

// NCCLUniqueIDBytes is the size of NCCL's unique id.
const NCCLUniqueIDBytes = int(C.CVX_NCCL_UNIQUE_ID_BYTES)

// NCCLUniqueID makes NCCL's unique id: one process does, and the host carries it to the others.
//
// Errors: [ErrDeviceUnavailable] where there is no NCCL.
func NCCLUniqueID() ([]byte, error) {
	if err := abiCheck(); err != nil {
		return nil, err
	}
	id := make([]byte, NCCLUniqueIDBytes)
	if err := takeError(C.cvx_nccl_unique_id((*C.uint8_t)(&id[0]), C.size_t(len(id)))); err != nil {
		return nil, err
	}
	return id, nil
}

// NewNCCLCommunicator makes the end of rank of ranks processes with a CUDA device each, which NCCL
// connects. It returns once all with the same id have called it.
//
// Errors: [ErrDeviceUnavailable], [ErrInvalidArgument], [ErrInternal] for what NCCL says.
func NewNCCLCommunicator(rank, ranks int, uniqueID []byte, device string) (*Communicator, error) {
	if err := abiCheck(); err != nil {
		return nil, err
	}
	r, err := toInt32("rank", rank)
	if err != nil {
		return nil, err
	}
	n, err := toInt32("ranks", ranks)
	if err != nil {
		return nil, err
	}
	var out *C.cvx_communicator
	err = withText("device", device, func(text *C.char) error {
		id := (*C.uint8_t)(unsafe.SliceData(uniqueID))
		return takeError(C.cvx_communicator_new_nccl(r, n, id, C.size_t(len(uniqueID)), text, &out))
	})
	if err != nil {
		return nil, err
	}
	return newCommunicator(out), nil
}

func newCommunicator(ptr *C.cvx_communicator) *Communicator {
	c := &Communicator{}
	open(&c.closer, c, "Communicator", ptr, func(ptr *C.cvx_communicator) { C.cvx_communicator_free(ptr) })
	return c
}

// Close frees the communicator; pipelines that were loaded with it are not affected. It never fails.
func (c *Communicator) Close() error {
	c.close()
	return nil
}

// SetAllGather sets how each of the ranks gives the same part to all.
//
// Errors: [ErrInvalidArgument] once a pipeline was loaded with the communicator.
func (c *Communicator) SetAllGather(allGather func(*Exchange) error) error {
	ptr := c.h.acquire("SetAllGather")
	defer c.h.release()
	return takeError(C.cvx_communicator_set_all_gather(ptr, C.cogvideox_go_exchange,
		newUserData(exchanger(allGather)), C.cogvideox_go_free))
}

// SetBroadcast sets how the first of the ranks gives a part to all: the others take it at Receive[0].
//
// Errors: as for [Communicator.SetAllGather].
func (c *Communicator) SetBroadcast(broadcast func(*Exchange) error) error {
	ptr := c.h.acquire("SetBroadcast")
	defer c.h.release()
	return takeError(C.cvx_communicator_set_broadcast(ptr, C.cogvideox_go_exchange,
		newUserData(exchanger(broadcast)), C.cogvideox_go_free))
}

// SetBarrier sets how all ranks wait for each other.
//
// Errors: as for [Communicator.SetAllGather].
func (c *Communicator) SetBarrier(barrier func(*Exchange) error) error {
	ptr := c.h.acquire("SetBarrier")
	defer c.h.release()
	return takeError(C.cvx_communicator_set_barrier(ptr, C.cogvideox_go_exchange,
		newUserData(exchanger(barrier)), C.cogvideox_go_free))
}

// SetAbort sets what is told that this rank's run has failed: it sees to it that the exchanges of
// others fail.
//
// Errors: as for [Communicator.SetAllGather].
func (c *Communicator) SetAbort(abort func(err *Error)) error {
	ptr := c.h.acquire("SetAbort")
	defer c.h.release()
	return takeError(C.cvx_communicator_set_abort(ptr, C.cogvideox_go_abort,
		newUserData(aborter(abort)), C.cogvideox_go_free))
}

// Abort ends this rank's run, under way or next, with an error that the host has from another rank.
//
// Errors: [ErrInvalidArgument] for an unknown code.
func (c *Communicator) Abort(code Code, message string) error {
	ptr := c.h.acquire("Abort")
	defer c.h.release()
	return withText("message", message, func(text *C.char) error {
		return takeError(C.cvx_communicator_abort(ptr, C.int32_t(code), text))
	})
}

// Reset tells, after a failure, that the host has put all ranks right, and runs may begin again.
func (c *Communicator) Reset() error {
	ptr := c.h.acquire("Reset")
	defer c.h.release()
	return takeError(C.cvx_communicator_reset(ptr))
}

// Rank is the rank of this process.
func (c *Communicator) Rank() int {
	ptr := c.h.acquire("Rank")
	defer c.h.release()
	return int(C.cvx_communicator_rank(ptr))
}

// NumRanks is how many ranks there are.
func (c *Communicator) NumRanks() int {
	ptr := c.h.acquire("NumRanks")
	defer c.h.release()
	return int(C.cvx_communicator_num_ranks(ptr))
}

//export cogvideoxGoExchange
func cogvideoxGoExchange(info *C.cvx_exchange_info, userData unsafe.Pointer) (answer C.int32_t) {
	answer = 1
	// What it panics with ends the run: no panic may pass the C code below.
	defer func() { _ = recover() }()
	ranks := int(info.num_ranks)
	send := unsafe.Slice(info.send, ranks)
	sent := unsafe.Slice(info.send_bytes, ranks)
	receive := unsafe.Slice(info.receive, ranks)
	received := unsafe.Slice(info.receive_bytes, ranks)
	x := &Exchange{FirstRank: int(info.first_rank)}
	for i := range ranks {
		x.Send = append(x.Send, unsafe.Slice((*byte)(send[i]), int(sent[i])))
		x.Receive = append(x.Receive, unsafe.Slice((*byte)(receive[i]), int(received[i])))
	}
	if userDataValue(userData).(exchanger)(x) == nil {
		answer = 0
	}
	return
}

//export cogvideoxGoAbort
func cogvideoxGoAbort(info *C.cvx_abort_info, userData unsafe.Pointer) {
	defer func() { _ = recover() }()
	userDataValue(userData).(aborter)(&Error{Code: Code(info.code), Message: C.GoString(info.message)})
}
