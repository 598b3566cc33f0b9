package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const demo = "../../demo-model/pipeline"

// TestMain makes the test binary the program itself where a test starts it as one, so that what
// is killed are processes, and nothing is built twice.
func TestMain(m *testing.M) {
	if os.Getenv("FLEET_TEST_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a part of a fleet that a test has started.
type process struct {
	t       *testing.T
	what    string
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// begin starts the program with args, in a folder of its own.
func begin(t *testing.T, what string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, what: what, command: exec.Command(program, args...), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), "FLEET_TEST_PROGRAM=1", "OMP_NUM_THREADS=1")
	p.command.Stdout, p.command.Stderr = log, log
	// A test that is stopped leaves nothing behind.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		log.Close()
		text, _ := os.ReadFile(log.Name())
		if strings.Contains(string(text), "DATA RACE") || strings.Contains(string(text), "panic:") {
			t.Errorf("%s has a race, or panicked", what)
		}
		if t.Failed() {
			t.Logf("---- %s said:\n%s", what, text)
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	p.command.Process.Kill()
	<-p.ended
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.what, err)
	}
}

// endsWell waits until the process has ended by itself, without an error.
func (p *process) endsWell(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("%s ended with %v", p.what, p.err)
		}
	case <-time.After(within):
		p.t.Fatalf("%s does not end", p.what)
	}
}

var given sync.Map // ports that free has given

// free is an address of the loopback device that nobody listens at; below the ports that the
// system gives to connections, so that none takes it before it is listened at.
func free(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("there is no free port")
	return ""
}

// processorTime is what a process has used of it so far.
func (p *process) processorTime() time.Duration {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		p.t.Errorf("%s: %v", p.what, err)
		return 0
	}
	// Behind the name in parentheses come the state and ten numbers; then user and system time,
	// in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// patient is how long a test waits for what should come at once on a machine that is not busy.
const patient = 90 * time.Second

// until waits for something.
func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !there(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patient)
		}
	}
}

// all starts everything in one process, and waits until it works.
func all(t *testing.T, args ...string) (*process, *fronts) {
	t.Helper()
	address := free(t)
	p := begin(t, "all", append([]string{"all", "-model", demo, "-device", "cpu", "-threads", "1", "-listen", address}, args...)...)
	f := &fronts{t: t, bases: []string{"http://" + address}}
	until(t, "the fleet begins", func() bool {
		select {
		case <-p.ended:
			t.Fatal("the fleet has ended")
		default:
		}
		response, data, err := f.ask(0, "GET", "/healthz", "", nil)
		return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(data), `"workers":1`)
	})
	return p, f
}

// inside connects a test to the servers of a fleet.
func inside(t *testing.T, addresses string) *client {
	t.Helper()
	cl, err := connect(context.Background(), &config{part: "test", name: "test", nats: addresses, token: os.Getenv("FLEET_NATS_TOKEN")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.close)
	if err := cl.open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return cl
}
