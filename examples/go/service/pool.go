package main

import (
	"errors"
	"math"
	"sync"
	"time"

	"cogvideox"
)

var (
	errFull         = errors.New("too many requests are waiting")
	errShuttingDown = errors.New("the service is shutting down")
)

// pool hands out clones of one pipeline, in the order in which they were asked for. Those who
// must wait take a place in a queue of bounded length.
type pool struct {
	limit  int
	clones []*cogvideox.Pipeline

	mu      sync.Mutex
	free    []*cogvideox.Pipeline
	waiting []*ticket
	closed  bool
	// usual is how long a run takes, a running average.
	usual time.Duration
}

// ticket is a place in the queue.
type ticket struct {
	// turn receives the clone, once, when it is the ticket's turn. It is closed when the
	// service shuts down instead.
	turn chan *cogvideox.Pipeline
	// ahead receives how many are before it, when that changes; only the newest is kept.
	ahead chan int
}

func newPool(pipeline *cogvideox.Pipeline, atOnce, limit int) (*pool, error) {
	p := &pool{limit: limit}
	for range atOnce {
		clone, err := pipeline.Clone()
		if err != nil {
			p.close()
			return nil, err
		}
		p.clones = append(p.clones, clone)
	}
	p.free = append(p.free, p.clones...)
	return p, nil
}

// enter takes a place, or returns errFull or errShuttingDown. Whoever has one calls leave.
func (p *pool) enter() (*ticket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errShuttingDown
	}
	t := &ticket{turn: make(chan *cogvideox.Pipeline, 1), ahead: make(chan int, 1)}
	if n := len(p.free); n > 0 {
		t.turn <- p.free[n-1]
		p.free = p.free[:n-1]
		return t, nil
	}
	if len(p.waiting) >= p.limit {
		return nil, errFull
	}
	p.waiting = append(p.waiting, t)
	p.tell()
	return t, nil
}

// leave gives up a place; clone is what turn gave, or nil if the turn was not waited for. took
// is how long a run was that ended well, else 0.
func (p *pool) leave(t *ticket, clone *cogvideox.Pipeline, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if took > 0 {
		if p.usual == 0 {
			p.usual = took
		}
		p.usual += (took - p.usual) / 4
	}
	for i, other := range p.waiting {
		if other == t {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.tell()
			return
		}
	}
	if clone == nil {
		// It may have come in the moment in which the ticket was given up.
		select {
		case clone = <-t.turn:
		default:
		}
	}
	if clone == nil {
		return
	}
	if len(p.waiting) == 0 {
		p.free = append(p.free, clone)
		return
	}
	next := p.waiting[0]
	p.waiting = p.waiting[1:]
	next.turn <- clone
	p.tell()
}

// tell tells those who wait how many are ahead. The lock is held.
func (p *pool) tell() {
	for i, t := range p.waiting {
		select {
		case <-t.ahead:
		default:
		}
		t.ahead <- i
	}
}

// retryAfter is when a place may be free, in whole seconds.
func (p *pool) retryAfter() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	seconds := p.usual.Seconds() * float64(len(p.waiting)+1) / float64(len(p.clones))
	return int(min(600, max(1, math.Ceil(seconds))))
}

// counts are the runs under way and the requests that wait.
func (p *pool) counts() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clones) - len(p.free), len(p.waiting)
}

// shut lets nobody in any more and sends away who waits. What runs goes on.
func (p *pool) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, t := range p.waiting {
		close(t.turn)
	}
	p.waiting = nil
}

// close closes the clones.
func (p *pool) close() {
	p.shut()
	for _, clone := range p.clones {
		clone.Close()
	}
}
