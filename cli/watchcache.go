package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// errAlways is what comes of switching off what a server cannot do without.
var errAlways = errors.New("this cannot be switched off here")

// watchCacheFlags adds kube-apiserver's flags about its watch cache. As there, sizes say no more than whether there is one.
func watchCacheFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	always(cmd, "watch-cache", "watches are served from memory")
	f.Func("default-watch-cache-size", "any size but 0: the history for watches follows the load", func(s string) error {
		n, err := strconv.Atoi(s)
		if err == nil && n == 0 {
			return errAlways
		}
		return err
	})
	_ = f.MarkDeprecated("default-watch-cache-size", "watch caches are sized automatically and this flag will be removed in a future version")
	f.Func("watch-cache-sizes", "resource[.group]#size, comma separated: any size but 0, as the history for watches follows the load", func(s string) error {
		for one := range strings.SplitSeq(s, ",") {
			if err := checkWatchCacheSize(one); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkWatchCacheSize finds faults in upstream's words.
func checkWatchCacheSize(s string) error {
	_, size, ok := strings.Cut(s, "#")
	if !ok || strings.Contains(size, "#") {
		return fmt.Errorf("invalid value of watch cache size: %s", s)
	}
	n, err := strconv.Atoi(size)
	switch {
	case err != nil:
		return fmt.Errorf("invalid size of watch cache size: %s", s)
	case n < 0:
		return fmt.Errorf("watch cache size cannot be negative: %s", s)
	case n == 0:
		return errAlways
	}
	return nil
}
