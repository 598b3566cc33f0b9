package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// config is what the command line says.
type config struct {
	// part is "all", "server", "front", "worker" or "key".
	part string
	name string

	// Where the servers are; "" means one inside this process.
	nats, token string

	// Of servers.
	listen, cluster, routes, store string
	syncAlways                     bool

	// Of fronts: what is kept, and how much.
	http, keys, example    string
	open                   bool
	replicas               int
	queue, perKey          int
	keep, deadKeep         time.Duration
	maxPixels              int64
	maxSteps, maxBodyBytes int

	// Of workers.
	model, modelName, device, metrics string
	atOnce, threads, attempts         int
	memory                            float64
	ackWait, grace                    time.Duration
	previews                          bool
}

const usage = `fleet makes videos on one machine or many.

  fleet [all] -model FOLDER          everything in one process; -nats makes it part of a cluster
  fleet server -name N [flags]       a NATS server with JetStream, alone or in a cluster
  fleet front  -nats URL,URL [flags] takes requests, shows the page
  fleet worker -nats URL,URL [flags] makes the videos
  fleet key NAME                     makes an API key, and its entry for the file of -keys

`

var token = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func parse(args []string) (*config, error) {
	c := &config{part: "all"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c.part, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("fleet "+c.part, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	server, front, worker := false, false, false
	switch c.part {
	case "all":
		server, front, worker = true, true, true
	case "server":
		server = true
	case "front":
		front = true
	case "worker":
		worker = true
	case "key":
		if len(args) != 1 || !token.MatchString(args[0]) {
			return c, errors.New("key: expected a name of letters, digits, '-' and '_', as in: fleet key alice")
		}
		c.name = args[0]
		return c, nil
	default:
		return c, fmt.Errorf("expected all, server, front, worker or key, found %q", c.part)
	}
	host, _ := os.Hostname()
	flags.StringVar(&c.name, "name", "", "name of this process, shown to operators (default: the machine's and a number)")
	flags.StringVar(&c.token, "token", "", "secret that servers and their clients share; better in FLEET_NATS_TOKEN, where other users do not see it")
	if front || worker {
		flags.StringVar(&c.nats, "nats", "", "addresses of NATS servers with JetStream, with commas between")
	}
	if server {
		flags.StringVar(&c.store, "store", "fleet-data", "folder of what the server keeps")
		flags.BoolVar(&c.syncAlways, "sync", false, "write to the disk before a request is accepted: survives a loss of power, and is slower")
		where := ""
		if c.part == "server" {
			where = "127.0.0.1:4222"
		}
		flags.StringVar(&c.listen, "server-listen", where, "address that NATS clients connect to (in all: none, unless workers elsewhere shall join)")
		if c.part == "server" {
			flags.StringVar(&c.cluster, "cluster", "", "address that other servers connect to; none: no cluster")
			flags.StringVar(&c.routes, "routes", "", "addresses of the other servers' -cluster, with commas between")
		}
	}
	if front {
		flags.StringVar(&c.http, "listen", "localhost:8080", "address of the HTTP service and the page")
		flags.StringVar(&c.keys, "keys", "", "file of API keys, see the README; read again on SIGHUP")
		flags.BoolVar(&c.open, "open", false, "without -keys, also listen where other machines can reach it")
		flags.StringVar(&c.example, "example", "a red ball moves right on a black background", "prompt that the page begins with")
		flags.IntVar(&c.replicas, "replicas", 0, "how many servers keep each request and result (default: 3 with three servers or more, else 1)")
		flags.IntVar(&c.queue, "queue", 1000, "requests that wait or run at once in the whole fleet; more are answered 429")
		flags.IntVar(&c.perKey, "queue-per-key", 100, "the same for each API key and kind of request")
		flags.DurationVar(&c.keep, "keep", 24*time.Hour, "age at which results and records are deleted")
		flags.DurationVar(&c.deadKeep, "keep-dead", 14*24*time.Hour, "age at which dead letters are deleted")
		flags.Int64Var(&c.maxPixels, "max-pixels", 1<<30, "most pixels of all frames together, for keys that say nothing else")
		flags.IntVar(&c.maxSteps, "max-steps", 100, "most denoising steps, for keys that say nothing else")
		flags.IntVar(&c.maxBodyBytes, "max-body", 4<<20, "most bytes of a request, its image included")
	}
	if worker {
		flags.StringVar(&c.model, "model", "../../demo-model/pipeline", "pipeline folder as diffusers saves it")
		flags.StringVar(&c.modelName, "model-name", "", "what requests call the model (default: the folder's name)")
		flags.StringVar(&c.device, "device", "auto", "cpu, cuda, cuda:N or auto; several with commas between")
		flags.IntVar(&c.atOnce, "at-once", 1, "clips at the same time on each device, over one copy of the weights")
		flags.IntVar(&c.threads, "threads", 0, "threads of each clip on the CPU (default: libtorch's own)")
		flags.Float64Var(&c.memory, "memory", 0, "GiB of each device that clips may take (default: what is free when it starts)")
		flags.DurationVar(&c.ackWait, "ack-wait", 10*time.Second, "how long a worker may be silent before its clip is given to another; the same for all workers")
		flags.IntVar(&c.attempts, "attempts", 5, "how often a request is begun before it becomes a dead letter")
		flags.DurationVar(&c.grace, "grace", 5*time.Minute, "how long a clip may go on after SIGTERM before it is given back")
		flags.BoolVar(&c.previews, "previews", true, "pictures of clips that are being made")
		flags.StringVar(&c.metrics, "metrics", "", "address of the worker's own /metrics; none by itself (in all, the front's)")
	}
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.token == "" {
		c.token = os.Getenv("FLEET_NATS_TOKEN")
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if c.cluster != "" && c.name == "" {
		return c, errors.New("-name: a server of a cluster has one, and keeps it: the others know it by that name when it comes back")
	}
	if c.name == "" {
		c.name = fmt.Sprintf("%s-%d", strings.Map(tokenRune, host), os.Getpid())
	}
	if !token.MatchString(c.name) {
		return c, fmt.Errorf("-name: expected 1 to 64 letters, digits, '-' and '_', found %q", c.name)
	}
	if (c.part == "front" || c.part == "worker") && c.nats == "" {
		return c, errors.New("-nats: say where the servers are")
	}
	if front && (c.queue < 1 || c.perKey < 1 || c.keep <= 0 || c.deadKeep <= 0 || c.maxPixels < 1 || c.maxSteps < 1 || c.maxBodyBytes < 1024) {
		return c, errors.New("-queue, -queue-per-key, -keep, -keep-dead, -max-pixels and -max-steps must be above 0, -max-body at least 1024")
	}
	if front && (c.replicas < 0 || c.replicas > 5) {
		return c, errors.New("-replicas: expected 0 to 5")
	}
	if front && c.replicas == 0 {
		c.replicas = 1
		if strings.Count(c.nats, ",") >= 2 {
			c.replicas = 3
		}
	}
	if worker {
		if c.ackWait < time.Second || c.attempts < 1 || c.grace < 0 {
			return c, errors.New("-ack-wait must be at least 1s, -attempts at least 1, -grace at least 0")
		}
		if c.atOnce < 1 || c.threads < 0 || c.memory < 0 {
			return c, errors.New("-at-once must be at least 1, -threads and -memory at least 0")
		}
		if c.modelName == "" {
			c.modelName = nameOfModel(c.model)
		}
		if !token.MatchString(c.modelName) {
			return c, fmt.Errorf("-model-name: expected 1 to 64 letters, digits, '-' and '_', found %q", c.modelName)
		}
	}
	return c, nil
}

// tokenRune makes a letter fit for subjects and names of consumers.
func tokenRune(r rune) rune {
	if token.MatchString(string(r)) {
		return r
	}
	return '_'
}
