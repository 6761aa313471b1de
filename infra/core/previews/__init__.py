"""Previews of branches: their names, what their config may say, and the origins that a backend
learns from those attached to it. Pure."""

from infra.core.previews.attached import attach as attach
from infra.core.previews.checks import derived as derived
from infra.core.previews.checks import of_contract as of_contract
from infra.core.previews.checks import output as output
from infra.core.previews.checks import problems as problems
from infra.core.previews.names import PREFIX as PREFIX
from infra.core.previews.names import TEMPLATE as TEMPLATE
from infra.core.previews.names import backend_label as backend_label
from infra.core.previews.names import check_branch as check_branch
from infra.core.previews.names import frontend_label as frontend_label
from infra.core.previews.names import is_preview as is_preview
from infra.core.previews.names import label_of as label_of
from infra.core.previews.names import name_of as name_of
from infra.core.previews.names import secrets_file as secrets_file
from infra.core.previews.names import slot_name as slot_name
from infra.core.previews.names import slot_of as slot_of
from infra.core.previews.tags import aws_tags as aws_tags
from infra.core.previews.tags import google_description as google_description
from infra.core.previews.tags import google_labels as google_labels
