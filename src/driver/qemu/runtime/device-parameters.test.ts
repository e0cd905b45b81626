import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../core/errors.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import { liveNumaNodes, numaParametersOf, setNumaParameters } from './device-parameters.ts';

const domainOf = (memory = '') =>
  parseDomain(
    `<domain type='qemu'><name>web</name><memory>1024</memory>${memory === '' ? '' : `<numatune><memory ${memory}/></numatune>`}<os><type>hvm</type></os></domain>`,
  ).domain;

describe('NUMA parameters', () => {
  it('can be changed of a running guest only where its cgroup binds it', () => {
    expect(liveNumaNodes(domainOf("mode='restrictive' nodeset='0'"), { numa_nodeset: '0-1' }, [0, 1])).toEqual([0, 1]);
    expect(liveNumaNodes(domainOf(), { numa_nodeset: '1' }, [0, 1])).toEqual([1]);
    expect(liveNumaNodes(domainOf("mode='strict' nodeset='0'"), { numa_mode: 0 }, [0])).toBeUndefined();
    for (const mode of ['strict', 'preferred', 'interleave']) {
      expect(() => liveNumaNodes(domainOf(`mode='${mode}' nodeset='0'`), { numa_nodeset: '0' }, [0])).toThrow(
        expect.objectContaining({ code: ErrorCode.OPERATION_INVALID, message: expect.stringContaining(mode) }),
      );
    }
  });

  it('are refused as libvirt refuses them', () => {
    const refused = (parameters: Parameters<typeof liveNumaNodes>[1]) => () =>
      liveNumaNodes(domainOf("mode='restrictive' nodeset='0'"), parameters, [0, 1]);
    expect(refused({ numa_mode: 0, numa_nodeset: '1' })).toThrow(/can't change numatune mode/);
    expect(refused({ numa_nodeset: '0,7' })).toThrow(
      expect.objectContaining({ code: ErrorCode.CONFIG_UNSUPPORTED, message: expect.stringContaining('NUMA node 7') }),
    );
    expect(refused({ numa_nodeset: '' })).toThrow(expect.objectContaining({ code: ErrorCode.OPERATION_INVALID }));
  });

  it('name the nodes that the definition did not', () => {
    const domain = domainOf();
    setNumaParameters(domain, { numa_nodeset: '1-2' });
    expect(domain.numatune?.memory).toEqual({ mode: 'strict', placement: 'static', nodeset: [1, 2] });
    expect(numaParametersOf(domain)).toEqual({ numa_mode: 0, numa_nodeset: '1-2' });
    const placed = domainOf("mode='strict' placement='auto'");
    setNumaParameters(placed, { numa_nodeset: '0' });
    expect(placed.numatune?.memory?.placement).toBe('static');
  });
});
