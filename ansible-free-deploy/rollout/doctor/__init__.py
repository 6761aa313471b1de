"""Why a page may or may not read the backend: every origin × endpoint × method, judged by a
browser's rules.

observed = examine(outputs)
diagnose(observed).status
"""

from rollout.doctor.about import About as About
from rollout.doctor.about import about_now as about_now
from rollout.doctor.diagnosis import Diagnosis as Diagnosis
from rollout.doctor.diagnosis import diagnose as diagnose
from rollout.doctor.examination import examine as examine
from rollout.doctor.examination import single_cell as single_cell
from rollout.doctor.json_output import as_json as as_json
from rollout.doctor.observations import Observations as Observations
from rollout.doctor.text import as_text as as_text
