package standin

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// A Flag is one of the server's, with its value.
type Flag struct{ Name, Value string }

// renamed are upstream's flags that the server knows by another name.
var renamed = map[string]string{"service-cluster-ip-range": "service-cidr"}

// elsewhere are upstream's flags that a test need not be skipped for: what they say is said otherwise here, or
// concerns parts that the server does not have.
var elsewhere = []string{
	"allow-privileged",                            // always
	"apiserver-count",                             // servers find each other
	"bind-address",                                // always loopback
	"cert-dir",                                    // the data directory
	"emulated-version",                            // GatesOf
	"enable-aggregator-routing",                   // always
	"endpoint-reconciler-type",                    // loopback addresses are never written
	"etcd-compaction-interval",                    // the store looks after that
	"etcd-db-metric-poll-interval",                // the same
	"etcd-healthcheck-timeout",                    // tests that make a configuration of their own leave it out
	"etcd-readycheck-timeout",                     // the same
	"lease-reuse-duration-seconds",                // the same
	"etcd-prefix",                                 // Options.Root
	"etcd-servers",                                // Options.Endpoints
	"external-hostname",                           // loopback
	"feature-gates",                               // GatesOf
	"min-compatibility-version",                   // GatesOf
	"permit-port-sharing",                         // the socket is inherited
	"secure-port",                                 // Server.Port
	"storage-media-type",                          // values are protobuf or JSON, by their kind
	"tls-cert-file",                               // the cluster's own
	"tls-private-key-file",                        // the same
	"experimental-watch-progress-notify-interval", // bookmarks need no help from etcd
}

// FlagsOf returns the flags that make our server what o makes of upstream's.
func FlagsOf(o *options.ServerRunOptions) ([]Flag, error) {
	defaults, flags := FlagsOn(options.NewServerRunOptions()), []Flag{}
	var err error
	FlagsOn(o).VisitAll(func(f *pflag.Flag) {
		if d := defaults.Lookup(f.Name); d == nil || d.Value.String() == f.Value.String() || slices.Contains(elsewhere, f.Name) {
			return
		}
		name := f.Name
		if other, ok := renamed[name]; ok {
			name = other
		}
		if !known()(name) {
			err = notInClipper("--" + f.Name)
			return
		}
		for _, value := range values(f.Value) {
			flags = append(flags, Flag{name, value})
		}
	})
	return flags, err
}

// FlagsOn returns the flags of o, which set o and have its values.
func FlagsOn(o *options.ServerRunOptions) *pflag.FlagSet {
	set, named := pflag.NewFlagSet("server", pflag.ContinueOnError), o.Flags()
	for _, f := range named.FlagSets {
		set.AddFlagSet(f)
	}
	return set
}

// values returns what a flag has to be given, once or several times, to have value v.
func values(v pflag.Value) []string {
	if list, ok := v.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	if v.Type() == "mapStringString" {
		kept := slices.DeleteFunc(strings.Split(v.String(), ","), func(pair string) bool { return slices.Contains(classes, pair) })
		return []string{strings.Join(kept, ",")}
	}
	if t := v.Type(); t == "stringSlice" || t == "stringToString" { // a slice that is wrapped
		return []string{strings.Trim(v.String(), "[]")}
	}
	return []string{v.String()}
}

// classes are what tests ask for to see every version of every API. The server has those that are on by default.
var classes = []string{"api/all=true", "api/beta=true", "api/alpha=true"}

var help = regexp.MustCompile(`(?m)^ +(?:-\w, |    )--([a-z0-9-]+)`)

// known says whether our server has a flag.
var known = sync.OnceValue(func() func(string) bool {
	text, err := exec.Command(os.Getenv(binaryVariable), "server", "--help").Output()
	if err != nil {
		panic(fmt.Sprintf("ask the server that %s names for its flags: %v", binaryVariable, err))
	}
	names := map[string]bool{}
	for _, match := range help.FindAllStringSubmatch(string(text), -1) {
		names[match[1]] = true
	}
	return func(name string) bool { return names[name] }
})
