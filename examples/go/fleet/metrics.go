package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus reads of one process. Workers count what they did, so that sums over
// all processes are right; fronts show the state of the whole fleet, and any one of them will do.
type metrics struct {
	registry *prometheus.Registry

	// Of workers.
	ends       *prometheus.CounterVec
	retried    prometheus.Counter
	thrownAway prometheus.Counter
	toStart    prometheus.Histogram
	perClip    prometheus.Histogram

	// Of fronts.
	answers *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fleet_jobs_ended_total",
			Help: "Jobs that this worker ended, by state: done, failed, cancelled, dead."}, []string{"model", "state"}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{Name: "fleet_attempts_failed_total",
			Help: "Attempts of this worker that failed and went back to the queue."}),
		thrownAway: prometheus.NewCounter(prometheus.CounterOpts{Name: "fleet_results_thrown_away_total",
			Help: "Clips of this worker that another worker had taken over meanwhile."}),
		toStart: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fleet_seconds_to_start",
			Help:    "From acceptance to the first attempt.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}}),
		perClip: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fleet_seconds_per_clip",
			Help:    "Of the run that made a clip, without waiting.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560}}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fleet_submissions_total",
			Help: "Submissions that this front answered, by HTTP status."}, []string{"status"}),
	}
	m.registry.MustRegister(m.ends, m.retried, m.thrownAway, m.toStart, m.perClip, m.answers,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// of shows the counters of a model from the beginning, so that rates have a zero to start from.
func (m *metrics) of(model string) {
	for _, state := range []state{done, failed, cancelled, dead} {
		m.ends.WithLabelValues(model, string(state))
	}
}

func (m *metrics) started(j *job) {
	if j.Attempts == 1 {
		m.toStart.Observe(j.Started.Sub(j.Submitted).Seconds())
	}
}

func (m *metrics) made(j *job) {
	m.perClip.Observe(j.Result.Seconds)
	m.ended(j)
}

func (m *metrics) ended(j *job) {
	m.ends.WithLabelValues(j.Kind.Model, string(j.State)).Inc()
}

// fleetCollector shows the state of the whole fleet, as one front sees it when it is asked.
type fleetCollector struct {
	*table
	jobs, waiting, workers, slots, busy *prometheus.Desc
}

func newFleetCollector(t *table) *fleetCollector {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &fleetCollector{t,
		gauge("fleet_jobs", "Records of jobs by state, as long as they are kept.", "state"),
		gauge("fleet_queue_length", "Jobs that wait, by kind.", "model", "task", "size"),
		gauge("fleet_workers", "Workers that are alive.", "model", "task"),
		gauge("fleet_slots", "Clips that workers can make at once.", "model", "task"),
		gauge("fleet_slots_busy", "Clips that workers are making.", "model", "task"),
	}
}

func (c *fleetCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.jobs, c.waiting, c.workers, c.slots, c.busy} {
		out <- d
	}
}

func (c *fleetCollector) Collect(out chan<- prometheus.Metric) {
	states, waiting := c.table.counts()
	for _, s := range []state{queued, running, done, failed, cancelled, dead} {
		out <- prometheus.MustNewConstMetric(c.jobs, prometheus.GaugeValue, float64(states[s]), string(s))
	}
	for k, n := range waiting {
		out <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(n), k.Model, k.Task, "x"+itoa(k.Size))
	}
	type place struct{ model, task string }
	sums := map[place][3]int{}
	for _, w := range c.table.allWorkers() {
		p := place{w.Model, w.Task}
		sum := sums[p]
		sums[p] = [3]int{sum[0] + 1, sum[1] + w.Slots, sum[2] + w.Busy}
	}
	for p, sum := range sums {
		for i, d := range []*prometheus.Desc{c.workers, c.slots, c.busy} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(sum[i]), p.model, p.task)
		}
	}
}
