package allocate

import "github.com/prometheus/client_golang/prometheus"

// How full the ranges are, under upstream's names. It is counted when somebody asks.
var (
	allocatedIPs   = prometheus.NewDesc("kube_apiserver_clusterip_allocator_allocated_ips", "Gauge measuring the number of allocated IPs for Services", []string{"cidr"}, nil)
	availableIPs   = prometheus.NewDesc("kube_apiserver_clusterip_allocator_available_ips", "Gauge measuring the number of available IPs for Services", []string{"cidr"}, nil)
	allocatedPorts = prometheus.NewDesc("kube_apiserver_nodeport_allocator_allocated_ports", "Gauge measuring the number of allocated NodePorts for Services", nil, nil)
	availablePorts = prometheus.NewDesc("kube_apiserver_nodeport_allocator_available_ports", "Gauge measuring the number of available NodePorts for Services", nil, nil)
)

// What was given out, and what could not be, since the process began.
var (
	ipsGiven     = counters("clusterip_allocator_allocation_total", "Number of Cluster IPs allocations", "cidr", "scope")
	ipsRefused   = counters("clusterip_allocator_allocation_errors_total", "Number of errors trying to allocate Cluster IPs", "cidr", "scope")
	portsGiven   = counters("nodeport_allocator_allocation_total", "Number of NodePort allocations", "scope")
	portsRefused = counters("nodeport_allocator_allocation_errors_total", "Number of errors trying to allocate NodePort", "scope")
)

// Who chose a value: the client, or the server.
const (
	static  = "static"
	dynamic = "dynamic"
)

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kube_apiserver_" + name, Help: help}, labels)
}

// counted counts what err says to have succeeded or failed.
func counted(given, refused *prometheus.CounterVec, err error, labels ...string) error {
	if err != nil {
		given = refused
	}
	given.WithLabelValues(labels...).Inc()
	return err
}

// Collectors are what the process counts about addresses and ports that it gives out.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{ipsGiven, ipsRefused, portsGiven, portsRefused}
}

// Describe implements prometheus.Collector.
func (a *Allocator) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{allocatedIPs, availableIPs, allocatedPorts, availablePorts} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (a *Allocator) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	shown := map[string]bool{} // several objects may name the same range
	for i := range a.families {
		f := &a.families[i]
		for _, b := range a.blocks(f) {
			if shown[b.prefix.String()] {
				continue
			}
			shown[b.prefix.String()] = true
			used := f.pool.count(b.contains)
			gauge(allocatedIPs, used, b.prefix.String())
			gauge(availableIPs, b.span.size-min(used, b.span.size), b.prefix.String())
		}
	}
	used := a.ports.count(func(port int32) bool { return a.first <= port && port <= a.last })
	gauge(allocatedPorts, used)
	gauge(availablePorts, a.portSpan.size-min(used, a.portSpan.size))
}

// count is how many values are held that counts says are to be counted.
func (p *pool[K]) count(counts func(K) bool) (n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for v := range p.held {
		if counts(v) {
			n++
		}
	}
	return n
}
