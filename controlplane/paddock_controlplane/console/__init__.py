"""The console: pages of the control plane for people. Rendered here, without a build step, without JavaScript."""
