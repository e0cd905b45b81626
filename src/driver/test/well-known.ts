/** What libvirt's test driver is known by: its first domain, its version, its capabilities. */

/** libvirt's, as its documentation names it. */
export const DEFAULT_DOMAIN = `<domain type='test'><name>test</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <memory unit='KiB'>8388608</memory><currentMemory unit='KiB'>2097152</currentMemory><vcpu>2</vcpu>
  <os><type>hvm</type></os></domain>`;
/** virConnectGetVersion of libvirt's test driver. */
export const VERSION = 2;
export const CAPABILITIES = `<capabilities>
  <host>
    <uuid>00000000-0000-0000-0000-000000000000</uuid>
    <cpu>
      <arch>i686</arch>
    </cpu>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='i686'>
      <wordsize>32</wordsize>
      <domain type='test'/>
    </arch>
  </guest>
</capabilities>
`;
