/** From XML text to a launch plan, in a program that has done it before: what a farm of guests pays for each. */
import { CapabilitiesCache } from '../../src/driver/qemu/capabilities/cache.ts';
import { DEFAULT_CONFIG } from '../../src/driver/qemu/config.ts';
import { Layout, SYSTEM_ROOTS } from '../../src/driver/qemu/layout.ts';
import { planFromXml } from '../../src/driver/qemu/plan/launch-plan.ts';
import { renderArguments } from '../../src/driver/qemu/plan/render.ts';
import { viewHost } from '../../src/driver/qemu/runtime/host-view.ts';
import type { Bench } from '../bench.ts';
import { summarize } from '../figures.ts';
import { RICH_GUEST_DEVICES, richGuestXml } from '../guest-xml.ts';

const GOAL_MS = 3;
const WARM_UPS = 200;
/** One plan is too short for a sample of ten to mean much. */
const PLANS_PER_ROUND = 10;

export const PLAN: Bench = {
  name: 'plan',
  summary: `XML text to launch plan, ${RICH_GUEST_DEVICES} devices`,
  measure: async (place, { rounds }) => {
    const cache = new CapabilitiesCache({ dir: place.folder('cache') });
    const { capabilities: caps } = await cache.get('qemu-system-x86_64', 'tcg');
    const driver = { caps, config: DEFAULT_CONFIG, layout: new Layout(SYSTEM_ROOTS), lookup: {}, host: viewHost({}) };
    const xml = richGuestXml();
    const plan = (): number => {
      const beforeMs = performance.now();
      const { length } = renderArguments(planFromXml(xml, driver), caps);
      if (length === 0) throw new Error('the plan is empty');
      return performance.now() - beforeMs;
    };
    for (let i = 0; i < WARM_UPS; i++) plan();
    const ours = summarize('ours', Array.from({ length: rounds * PLANS_PER_ROUND }, plan));
    return [
      {
        what: `XML text to launch plan, ${RICH_GUEST_DEVICES} devices`,
        unit: 'ms',
        ours,
        others: [],
        figure: { name: 'in all', value: ours.median, unit: 'ms' },
        goal: GOAL_MS,
        note: `after ${WARM_UPS} plans to warm up; with rendering to arguments`,
      },
    ];
  },
};
