package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve runs the whole service until stop is called; ended receives what run returns.
func serve(t *testing.T, c config) (base string, stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	address, result := make(chan string, 1), make(chan error, 1)
	go func() { result <- run(ctx, c, func(a net.Addr) { address <- "http://" + a.String() }) }()
	select {
	case base = <-address:
	case err := <-result:
		t.Fatal(err)
	case <-time.After(5 * time.Minute):
		t.Fatal("the service does not begin")
	}
	return base, cancel, result
}

func endedWell(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("the service does not end")
	}
}

func TestShutdownLetsRunsFinish(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c := settings()
	c.atOnce = 1
	c.grace = 5 * time.Minute
	base, stop, ended := serve(t, c)
	running := post(t, base, strings.Replace(long, "1000", "150", 1))
	running.until("progress")
	waiting := post(t, base, short)
	waiting.until("queued")
	stop()
	if name, data := waiting.next(); name != "error" || data["code"] != "SHUTTING_DOWN" {
		t.Errorf("who waits is told %q %v", name, data)
	}
	if response, err := http.Get(base + "/healthz"); err == nil {
		// Through a connection that is still open, at most.
		response.Body.Close()
	}
	running.until("done")
	endedWell(t, ended)
	if _, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")); err == nil {
		t.Error("the port is still open")
	}
	if files, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v (%v)", files, err)
	}
}

func TestShutdownEndsRunsAfterTheGracePeriod(t *testing.T) {
	c := settings()
	c.grace = 200 * time.Millisecond
	base, stop, ended := serve(t, c)
	running := post(t, base, long)
	running.until("progress")
	stop()
	for {
		name, data := running.next()
		if name == "error" {
			if data["code"] != "SHUTTING_DOWN" {
				t.Errorf("found %v", data)
			}
			break
		}
		if name != "progress" && name != "frames" {
			t.Fatalf("found %q %v", name, data)
		}
	}
	endedWell(t, ended)
}

// The program itself, with the signal.
func TestSIGTERM(t *testing.T) {
	program := filepath.Join(t.TempDir(), "service")
	if output, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	command := exec.Command(program, "-model", tiny, "-device", "cpu", "-listen", address, "-grace", "5m")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Process.Kill()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if response, err := http.Get("http://" + address + "/healthz"); err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the program does not begin")
		}
	}
	s := post(t, "http://"+address, strings.Replace(long, "1000", "100", 1))
	s.until("progress")
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.until("done")
	if err := command.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}
