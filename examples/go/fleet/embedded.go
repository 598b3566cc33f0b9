package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a NATS server inside this process: the one of `fleet all`, or one of a cluster.
type embedded struct {
	server *server.Server
	gone   chan struct{}
}

// startServer starts the server, and returns when it takes connections.
func startServer(c *config) (*embedded, error) {
	options := &server.Options{
		ServerName: c.name, NoSigs: true, DontListen: c.listen == "",
		JetStream: true, StoreDir: c.store, SyncAlways: c.syncAlways, Authorization: c.token,
		ReconnectErrorReports: 60, // of tries to reach a server that is gone, one a second
	}
	if c.listen != "" {
		var err error
		if options.Host, options.Port, err = address("-server-listen", c.listen); err != nil {
			return nil, err
		}
	}
	if c.cluster != "" {
		host, port, err := address("-cluster", c.cluster)
		if err != nil {
			return nil, err
		}
		options.Cluster = server.ClusterOpts{Name: "fleet", Host: host, Port: port}
		if c.token != "" {
			options.Cluster.Username, options.Cluster.Password = "fleet", c.token
		}
		for route := range strings.SplitSeq(c.routes, ",") {
			u, err := url.Parse(route)
			if err != nil || u.Host == "" {
				return nil, fmt.Errorf("-routes: expected addresses such as nats://other:6222, found %q", route)
			}
			if c.token != "" {
				u.User = url.UserPassword("fleet", c.token)
			}
			options.Routes = append(options.Routes, u)
		}
	} else if c.routes != "" {
		return nil, errors.New("-routes: a server has them only with -cluster")
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(natsLog{}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the server does not begin; its log says why")
	}
	slog.Info("serving NATS", "name", c.name, "address", c.listen, "store", c.store, "cluster", c.cluster)
	e := &embedded{server: s, gone: make(chan struct{})}
	go func() {
		s.WaitForShutdown()
		close(e.gone)
	}()
	return e, nil
}

func (e *embedded) ended() <-chan struct{} { return e.gone }

// stop ends the server in order: what it keeps is on the disk, and others lead what it led.
func (e *embedded) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

func address(name, text string) (string, int, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("%s: expected host:port, found %q", name, text)
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 0 || number > 65535 {
		return "", 0, fmt.Errorf("%s: expected a port from 0 to 65535, found %q", name, port)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	return host, number, nil
}

// natsLog hands what matters of the server's log to this program's.
type natsLog struct{}

func (natsLog) Noticef(string, ...any) {}
func (natsLog) Debugf(string, ...any)  {}
func (natsLog) Tracef(string, ...any)  {}
func (natsLog) Warnf(format string, values ...any) {
	slog.Warn("nats: " + fmt.Sprintf(format, values...))
}
func (natsLog) Errorf(format string, values ...any) {
	slog.Error("nats: " + fmt.Sprintf(format, values...))
}
func (natsLog) Fatalf(format string, values ...any) {
	slog.Error("nats: " + fmt.Sprintf(format, values...))
}
