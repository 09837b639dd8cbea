{% if percent >= 100 %}All {{ limit }} sends of your plan are used{% else %}{{ percent }} % of your plan's sends are used{% endif %}
