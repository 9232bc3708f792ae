package daemon

import (
	"strings"
	"testing"
	"time"
)

func TestEtcdServers(t *testing.T) {
	for server, want := range map[string]bool{
		"http://10.0.0.1:2379": true, "https://etcd:2379": true, "unix:///run/etcd.sock": true,
		"": false, "10.0.0.1:2379": false, "https://": false, "unix://": false, "ftp://etcd:2379": false, "https://[": false,
	} {
		o := defaultDatastore()
		o.Servers = []string{server}
		if err := o.complete(); (err == nil) != want {
			t.Errorf("--etcd-servers %q: %v", server, err)
		}
	}
}

// TestDatastoreFaults: what cannot be meant is refused, by the names of the flags.
func TestDatastoreFaults(t *testing.T) {
	for want, change := range map[string]func(*DatastoreOptions){
		"":                                 func(*DatastoreOptions) {},
		"--etcd-healthcheck-timeout 0s":    func(o *DatastoreOptions) { o.HealthTimeout = 0 },
		"--etcd-readycheck-timeout -1s":    func(o *DatastoreOptions) { o.ReadyTimeout = -time.Second },
		"--lease-reuse-duration-seconds 0": func(o *DatastoreOptions) { o.LeaseReuse = 0 },
		"--storage-backend invalid, allowed values: etcd3": func(o *DatastoreOptions) { o.Backend = "etcd2" },
		"--etcd-servers must be specified":                 func(o *DatastoreOptions) { o.Backend = "etcd3" },
		`--storage-media-type "text/plain" invalid, allowed values: application/json, application/vnd.kubernetes.protobuf`: func(o *DatastoreOptions) { o.MediaType = "text/plain" },
		"--cluster-end makes": func(o *DatastoreOptions) { o.ClusterEnd, o.Join = true, "https://a:6443" },
	} {
		o := defaultDatastore()
		change(&o)
		err := o.complete()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	o := defaultDatastore()
	o.ClusterEnd, o.Servers = true, []string{"https://etcd:2379"}
	if err := o.complete(); err != nil {
		t.Errorf("back from an etcd cluster of the user's: %v", err)
	}
}
