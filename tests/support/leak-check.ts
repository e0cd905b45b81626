/**
 * Setup file of the tests with real QEMU: each test file fails when it leaves processes, files, cgroups, interfaces or mounts.
 */
import { afterAll } from 'vitest';
import { LeakScope } from './leaks.ts';

const scope = new LeakScope();

// Registered before the test file's own hooks, so it runs after them.
afterAll(() => scope.expectNoLeaks());
