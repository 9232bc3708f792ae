package mutation

import "strings"

// texts are strings that some rule or other cares about.
var texts = []string{
	"", "a", "b", "c1", "web", "key", "value", "name", "default", "storage", "FOO", "foo_bar", "1abc", "Web_Upper", "-bad", "x y", "é",
	"true", "false", "None", "{}", "\x00", "a\nb", "a:b", "a=b", "x,y", "*", "C:\\x",
	"x.y.z", "example.com", "*.example.com", "example.com/name", "example.com/example.com/x", "example.com/gpu", "custom/NotReady",
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("b", 253), strings.Repeat("b", 254),
	"10.0.0.1", "10.00.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "10.0.0.0/24", "10.0.0.5/24", "10.96.0.0/16",
	"fd00::1", "::1", "fe80::1", "::ffff:1.2.3.4", "fd00::/64", "IPv4", "IPv6", "TCP", "UDP", "http", "80", "8080",
	"-1", "0", "1", "1Gi", "25%", "100%", "150%",
	"/", "/data", "/a/../b", "a/b", "../x", "..", ".", "relative", "http://x/y", "https://example.com/x?y=1",
	"2026-01-01T00:00:00Z", "@hourly", "*/5 * * * *", "* * *", "TZ=UTC * * * * *", "CRON_TZ=UTC 0 0 * * *", "Europe/Berlin", "Local",
	`device.driver == "x"`, `device.attributes["x"].y`, `1 +`,
	"cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "pods", "requests.cpu", "requests.memory", "requests.storage",
	"limits.cpu", "limits.memory", "count/pods", "services.nodeports",
	"metadata.name", "metadata.labels['a']", "metadata.annotations['x']", "status.podIP", "spec.nodeName",
	"v1", "apps", "apps/v1", "Pod", "Deployment", "ServiceAccount", "User", "Group", "rbac.authorization.k8s.io",
	"system:foo", "kube-system", "kubernetes.io/foo", "kubernetes.io/hostname", "kubernetes.io/os", "linux", "windows",
	"kubernetes.io/dockerconfigjson", "kubernetes.io/tls", "pd.csi.storage.gke.io",
	"localhost/profile", "unconfined", "runtime/default", "uid-1", "node-1",
}

// numbers are the edges of ranges, on both sides.
var numbers = []int64{
	-2147483648, -1, 0, 1, 2, 3, 4, 5, 10, 15, 30, 31, 32, 50, 80, 100, 101, 127, 128, 255, 256, 443, 511, 512, 600, 999, 1000, 1001,
	3600, 8080, 10000, 32767, 65535, 65536, 86400, 100000, 2000000000, 2147483647,
}

var quantities = []string{
	"0", "1", "-1", "100m", "1500u", "1Gi", "1n", "500Mi", "2", "3000m", "1M", "2Mi", "4Mi", "3Mi", "10", "0.5", "50Mi",
}

// documents stand in raw extensions.
var documents = []string{
	`{"a":1}`, `{}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`, `[1]`, `"s"`,
}
