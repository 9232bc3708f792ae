package daemon

import "testing"

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
