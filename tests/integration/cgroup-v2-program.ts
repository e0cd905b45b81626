import { detectCgroups } from '../../src/cgroup/index.ts';
process.stdout.write(JSON.stringify({host: detectCgroups()}));
