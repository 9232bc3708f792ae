package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/pipeline"
)

// errAlways is what comes of switching off what a server cannot do without.
var errAlways = errors.New("this cannot be switched off here")

// watchCacheFlags adds kube-apiserver's flags about its watch cache. As there, sizes say no more than whether there is one.
func watchCacheFlags(cmd *cobra.Command, to *pipeline.WatchCache) {
	f := cmd.Flags()
	f.BoolFunc("watch-cache", "false: lists of any state come in pages, as of a server without a cache", negated(&to.Off))
	f.Func("default-watch-cache-size", "0: lists of any state come in pages, of resources that --watch-cache-sizes does not name; the history for watches follows the load", func(s string) error {
		n, err := strconv.Atoi(s)
		to.NoDefault = err == nil && n == 0
		return err
	})
	_ = f.MarkDeprecated("default-watch-cache-size", "watch caches are sized automatically and this flag will be removed in a future version")
	f.Func("watch-cache-sizes", "resource[.group]#size, comma separated: 0 for lists of any state in pages; the history for watches follows the load", func(s string) error {
		for one := range strings.SplitSeq(s, ",") {
			if err := readWatchCacheSize(one, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// readWatchCacheSize finds faults in upstream's words.
func readWatchCacheSize(s string, to *pipeline.WatchCache) error {
	name, size, ok := strings.Cut(s, "#")
	if !ok || strings.Contains(size, "#") {
		return fmt.Errorf("invalid value of watch cache size: %s", s)
	}
	n, err := strconv.Atoi(size)
	switch {
	case err != nil:
		return fmt.Errorf("invalid size of watch cache size: %s", s)
	case n < 0:
		return fmt.Errorf("watch cache size cannot be negative: %s", s)
	}
	if to.Named == nil {
		to.Named = map[schema.GroupResource]bool{}
	}
	to.Named[schema.ParseGroupResource(name)] = n > 0
	return nil
}
