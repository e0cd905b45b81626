import { defineConfig } from 'vitest/config';

// Three suites: `unit` needs nothing but Node, `conformance` compares plans with recorded ones,
// `real` starts QEMU (also the contract that every driver keeps). `./dev test` runs them all; `./dev check` runs the first two.
export default defineConfig({
  test: {
    reporters: ['default', './tests/support/count-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'tools/**/*.test.ts', 'tests/unit/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      { test: { name: 'conformance', include: ['tests/conformance/**/*.test.ts'], testTimeout: 120_000 } },
      {
        test: {
          name: 'real',
          include: ['tests/integration/**/*.test.ts', 'tests/contract/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          globalSetup: ['tests/support/global-setup.ts'],
          setupFiles: ['tests/support/leak-check.ts'],
        },
      },
    ],
  },
});
